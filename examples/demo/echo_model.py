"""A model server that is no model: it answers with what it was asked, and says so.

It speaks enough of the OpenAI chat API (JSON, and server-sent events with usage) to show the
model gateway on a machine without a model or an internet connection. Tokens are words.

Run it alone with ``python -m examples.demo.echo_model --port 9000``.
"""

import argparse
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PATHS = ("/v1/chat/completions", "/chat/completions")
PAUSE_SECONDS = 0.02


class EchoModel:
    """The server, in a thread of its own, on a loopback port.

    Args:
        port: to listen on; 0 takes a free one.
    """

    def __init__(self, port: int = 0) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", port), EchoHandler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def base_url(self) -> str:
        """What goes into ``spec.config.baseUrl`` of an integration connection."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> "EchoModel":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class EchoHandler(BaseHTTPRequestHandler):
    """One request of the chat API."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer health checks."""
        if self.path == "/health":
            self._json(200, {"status": "ok"})
        else:
            self._json(404, _error(f"there is nothing at {self.path}"))

    def do_POST(self) -> None:
        """Answer a chat completion."""
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if self.path.partition("?")[0] not in PATHS:
            self._json(404, _error(f"there is nothing at {self.path}"))
            return
        try:
            request = json.loads(body)
            answer = answer_to(request["messages"])
        except (ValueError, KeyError, TypeError):
            self._json(400, _error("the body must be JSON with a list of messages"))
            return
        usage = usage_of(request["messages"], answer)
        if request.get("stream"):
            self._stream(request, answer, usage)
        else:
            self._json(200, completion(request, answer, usage))

    def _stream(self, request: dict[str, Any], answer: str, usage: dict[str, int]) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for event in events(request, answer, usage):
            self._chunk(b"data: " + event + b"\n\n")
            time.sleep(PAUSE_SECONDS)
        self._chunk(b"")

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
        self.wfile.flush()

    def _json(self, status: int, content: object) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Stay silent: the demo's output is for people."""


def answer_to(messages: list[dict[str, Any]]) -> str:
    """The echo of the last message, and what it is."""
    question = str(messages[-1]["content"])
    return f"I am an echo, not a language model. You asked: {question}"


def usage_of(messages: list[dict[str, Any]], answer: str) -> dict[str, int]:
    """Words as tokens."""
    asked = sum(len(str(message.get("content", "")).split()) for message in messages)
    said = len(answer.split())
    return {"prompt_tokens": asked, "completion_tokens": said, "total_tokens": asked + said}


def completion(request: dict[str, Any], answer: str, usage: dict[str, int]) -> dict[str, Any]:
    """The whole answer in one object."""
    message = {"role": "assistant", "content": answer}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return {**_head(request, "chat.completion"), "choices": [choice], "usage": usage}


def events(request: dict[str, Any], answer: str, usage: dict[str, int]) -> Iterator[bytes]:
    """The answer word by word, then the usage if it was asked for."""
    head = _head(request, "chat.completion.chunk")
    for position, word in enumerate(answer.split(" ")):
        delta = {"content": word if position == 0 else f" {word}"}
        yield _event(head, [{"index": 0, "delta": delta, "finish_reason": None}])
    yield _event(head, [{"index": 0, "delta": {}, "finish_reason": "stop"}])
    if (request.get("stream_options") or {}).get("include_usage"):
        yield json.dumps({**head, "choices": [], "usage": usage}).encode()
    yield b"[DONE]"


def _event(head: dict[str, Any], choices: list[dict[str, Any]]) -> bytes:
    return json.dumps({**head, "choices": choices}).encode()


def _head(request: dict[str, Any], kind: str) -> dict[str, Any]:
    now = time.time_ns()
    model = request.get("model", "echo")
    return {"id": f"echo-{now}", "object": kind, "created": now // 10**9, "model": model}


def _error(message: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": "invalid_request_error"}}


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description="An OpenAI-compatible server that echoes.")
    parser.add_argument("--port", type=int, default=9000)
    with EchoModel(parser.parse_args().port) as model:
        print(f"Echo model (not a language model) at {model.base_url}", flush=True)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            print()


if __name__ == "__main__":
    main()
