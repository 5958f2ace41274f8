"""An OpenAI-compatible model provider on a socket of its own, which remembers what it was sent."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

USAGE = {"prompt_tokens": 11, "completion_tokens": 5, "total_tokens": 16}
WORDS = ["Five", " words", " come", " from", " here"]


class Call(NamedTuple):
    """One request the provider got; header names in lower case."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "_Server"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.calls.append(Call(self.path, headers, body))
        if body.get("stream"):
            self._stream(body)
        else:
            self._whole(body)

    def _whole(self, body: dict[str, Any]) -> None:
        message = {"role": "assistant", "content": "".join(WORDS)}
        answer = _frame(body, "chat.completion", message=message) | {"usage": USAGE}
        content = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _stream(self, body: dict[str, Any]) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for word in WORDS:
            self._event(json.dumps(_frame(body, "chat.completion.chunk", delta={"content": word})))
        last = _frame(body, "chat.completion.chunk", delta={}) | {"usage": USAGE}
        self._event(json.dumps(last))
        self._event("[DONE]")
        self.wfile.write(b"0\r\n\r\n")

    def _event(self, data: str) -> None:
        text = f"data: {data}\n\n".encode()
        self.wfile.write(f"{len(text):x}\r\n".encode() + text + b"\r\n")
        self.wfile.flush()

    def log_message(self, format: str, *args: Any) -> None:
        """Tests read ``calls`` instead."""


def _frame(body: dict[str, Any], kind: str, **choice: Any) -> dict[str, Any]:
    choices = [{"index": 0, "finish_reason": None, **choice}]
    return {"id": "c1", "object": kind, "created": 1, "model": body["model"], "choices": choices}


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    calls: list[Call]


class ModelServer:
    """The provider; ``url`` is its OpenAI base URL and ``calls`` what it got so far."""

    def __init__(self) -> None:
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.calls = []
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"

    @property
    def calls(self) -> list[Call]:
        return self._server.calls

    def __enter__(self) -> "ModelServer":
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
