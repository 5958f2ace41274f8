"""A model provider of tests: answers as the last message asks."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import httpx

USAGE = {
    "prompt_tokens": 11,
    "completion_tokens": 5,
    "total_tokens": 16,
    "prompt_tokens_details": {"cached_tokens": 4},
    "completion_tokens_details": {"reasoning_tokens": 2},
}


class Provider:
    """Runs on a port of its own; ``seen`` has the headers and bodies that it got."""

    def __init__(self) -> None:
        self.seen: list[tuple[dict[str, str], dict[str, Any]]] = []
        handler = type("Bound", (_Handler,), {"provider": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        self._models = 0

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *problem: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def model(
        self, api: httpx.Client, name: str = "", key: str = "sk-provider-of-tests", **spec: Any
    ) -> str:
        """A model that this provider serves; returns its name."""
        self._models += 1
        name = name or f"model-{self._models}-{self._server.server_port}"
        config = {"integration": "openai", "secret": {"apiKey": key}}
        config["config"] = {"baseUrl": self.url}
        connection = {"metadata": {"name": name}, "spec": config}
        assert api.post("/v0/integrations/connections", json=connection).is_success
        spec = {"runtime": {"type": "openai", "model": "gpt-real"}} | spec
        labels = {"team": "blue"}
        body = {
            "metadata": {"name": name, "labels": labels},
            "spec": spec | {"integrationConnections": [name]},
        }
        answer = api.post("/v0/models", json=body)
        assert answer.is_success, answer.text
        return name


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    provider: Provider

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.provider.seen.append((headers, body))
        prompt = str(body["messages"][-1]["content"])
        if prompt.startswith("wait"):
            time.sleep(float(prompt.split()[1]))
        if prompt == "lie":
            usage = {"prompt_tokens": 18446744073709551615, "completion_tokens": -5}
            told = {"model": "m\0n", "choices": [], "usage": usage}
            self._send(200, told)
        elif prompt == "fail":
            self._send(429, {"error": {"code": "slow_down", "message": "slow down"}})
        elif prompt == "leak":
            self._send(200, {"choices": [], "asked": self.headers["authorization"]})
        elif body.get("stream"):
            self._stream(prompt)
        else:
            message = {"role": "assistant", "content": f"You said: {prompt}"}
            told = {"model": "gpt-real-2026", "choices": [{"message": message}], "usage": USAGE}
            self._send(200, told)

    def _send(self, status: int, content: dict[str, Any]) -> None:
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _stream(self, prompt: str) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        events = [{"choices": [{"delta": {"content": piece}}]} for piece in _pieces(prompt)]
        events.append({"choices": [], "model": "gpt-real-2026", "usage": USAGE})
        for event in [*map(json.dumps, events), "[DONE]"]:
            data = f"data: {event}\n\n".encode()
            self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
            if prompt == "hold":
                self.wfile.flush()
                time.sleep(0.5)
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *args: Any) -> None: ...


def _pieces(text: str) -> list[str]:
    return [text[at : at + 5] for at in range(0, len(text), 5)]
