"""Model providers on one socket, each with its own protocol; it remembers what it was sent.

The shapes are those that the providers' official SDKs read: their types check them.
"""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import urlsplit

ASKED, SAID = 11, 5
WORDS = ["Five", " words", " come", " from", " here"]
TEXT = "".join(WORDS)
BREAK = "Break off"
"""A stream with this in its question breaks after the first event."""
OPENAI = {"prompt_tokens": ASKED, "completion_tokens": SAID, "total_tokens": ASKED + SAID}
NEW = {
    "input_tokens": ASKED,
    "output_tokens": SAID,
    "total_tokens": ASKED + SAID,
    "input_tokens_details": {"cached_tokens": 0},
    "output_tokens_details": {"reasoning_tokens": 0},
}
GOOGLE = {
    "promptTokenCount": ASKED,
    "candidatesTokenCount": SAID,
    "totalTokenCount": ASKED + SAID,
}
COHERE = {
    "billed_units": {"input_tokens": 1, "output_tokens": 1},
    "tokens": {"input_tokens": ASKED, "output_tokens": SAID},
}


class Call(NamedTuple):
    """One request; header names in lower case, ``body`` decoded where it is JSON."""

    path: str
    query: str
    headers: dict[str, str]
    body: Any


def _chat(body: dict[str, Any], kind: str, **choice: Any) -> dict[str, Any]:
    choices = [{"index": 0, "finish_reason": None, **choice}]
    return {"id": "c1", "object": kind, "created": 1, "model": body["model"], "choices": choices}


def completion(body: dict[str, Any]) -> dict[str, Any]:
    message = {"role": "assistant", "content": TEXT}
    whole = _chat(body, "chat.completion", message=message, finish_reason="stop")
    return whole | {"usage": OPENAI}


def completion_events(body: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for word in WORDS:
        yield "", _chat(body, "chat.completion.chunk", delta={"content": word})
    yield "", _chat(body, "chat.completion.chunk", delta={}, finish_reason="stop")
    if (body.get("stream_options") or {}).get("include_usage"):
        yield "", _chat(body, "chat.completion.chunk") | {"choices": [], "usage": OPENAI}
    yield "", "[DONE]"


def response(body: dict[str, Any]) -> dict[str, Any]:
    text = {"type": "output_text", "text": TEXT, "annotations": []}
    message = {
        "id": "m1",
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": [text],
    }
    return {
        "id": "r1",
        "object": "response",
        "created_at": 1,
        "model": body["model"],
        "status": "completed",
        "output": [message],
        "parallel_tool_calls": False,
        "tool_choice": "auto",
        "tools": [],
        "usage": NEW,
    }


def message(body: dict[str, Any], **more: Any) -> dict[str, Any]:
    whole = {
        "id": "m1",
        "type": "message",
        "role": "assistant",
        "model": body["model"],
        "content": [{"type": "text", "text": TEXT}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": ASKED, "output_tokens": SAID},
    }
    return whole | more


def message_events(body: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    begun = message(body, content=[], usage={"input_tokens": ASKED, "output_tokens": 1})
    events: list[dict[str, Any]] = [{"type": "message_start", "message": begun}]
    block = {"type": "text", "text": ""}
    events.append({"type": "content_block_start", "index": 0, "content_block": block})
    for word in WORDS:
        delta = {"type": "text_delta", "text": word}
        events.append({"type": "content_block_delta", "index": 0, "delta": delta})
    events.append({"type": "content_block_stop", "index": 0})
    stop = {"stop_reason": "end_turn", "stop_sequence": None}
    events.append({"type": "message_delta", "delta": stop, "usage": {"output_tokens": SAID}})
    events.append({"type": "message_stop"})
    for event in events:
        yield event["type"], event


def candidate(text: str, **more: Any) -> dict[str, Any]:
    content = {"role": "model", "parts": [{"text": text}]}
    return {"candidates": [{"content": content, "index": 0}], **more}


def candidate_events(_: Any) -> Iterator[tuple[str, Any]]:
    for word in WORDS[:-1]:
        yield "", candidate(word)
    yield "", candidate(WORDS[-1], usageMetadata=GOOGLE)


def cohere_chat(_: Any) -> dict[str, Any]:
    said = {"role": "assistant", "content": [{"type": "text", "text": TEXT}]}
    return {"id": "c1", "finish_reason": "COMPLETE", "message": said, "usage": COHERE}


def cohere_events(_: Any) -> Iterator[tuple[str, Any]]:
    yield "message-start", {"type": "message-start", "id": "c1", "delta": {}}
    for word in WORDS:
        delta = {"message": {"content": {"text": word}}}
        yield "content-delta", {"type": "content-delta", "index": 0, "delta": delta}
    delta = {"finish_reason": "COMPLETE", "usage": COHERE}
    yield "message-end", {"type": "message-end", "delta": delta}


def embedding(body: dict[str, Any]) -> dict[str, Any]:
    item = {"object": "embedding", "index": 0, "embedding": [0.5, 0.25]}
    usage = {"prompt_tokens": ASKED, "total_tokens": ASKED}
    return {"object": "list", "data": [item], "model": body["model"], "usage": usage}


WHOLE = {
    "/chat/completions": completion,
    "/responses": response,
    "/embeddings": embedding,
    "/messages": message,
    ":generateContent": lambda _: candidate(TEXT, usageMetadata=GOOGLE),
    "/v2/chat": cohere_chat,
    "/v2/rerank": lambda _: {"id": "r1", "results": [{"index": 1, "relevance_score": 0.9}]},
    "/audio/transcriptions": lambda _: {"text": TEXT},
}
STREAMED = {
    "/chat/completions": completion_events,
    "/messages": message_events,
    ":streamGenerateContent": candidate_events,
    "/v2/chat": cohere_events,
}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "_Server"

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers["content-length"]))
        body = json.loads(raw) if "json" in self.headers.get("content-type", "") else raw
        headers = {name.lower(): value for name, value in self.headers.items()}
        url = urlsplit(self.path)
        self.server.calls.append(Call(url.path, url.query, headers, body))
        streams = ":stream" in url.path or (isinstance(body, dict) and body.get("stream"))
        found = STREAMED if streams else WHOLE
        for ending, make in found.items():
            if url.path.endswith(ending):
                answer: Any = make(body)  # type: ignore[operator]
                if streams:
                    self._stream(answer, breaks=BREAK in str(body))
                else:
                    self._whole(answer)
                return
        self._whole({"error": {"message": f"no such path: {self.path}"}}, 404)

    def _whole(self, answer: Any, status: int = 200) -> None:
        content = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _stream(self, events: Iterator[tuple[str, Any]], *, breaks: bool) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for name, event in events:
            data = event if isinstance(event, str) else json.dumps(event)
            text = (f"event: {name}\n" if name else "") + f"data: {data}\n\n"
            self.wfile.write(f"{len(text):x}\r\n{text}\r\n".encode())
            self.wfile.flush()
            if breaks:
                self.close_connection = True
                return
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, format: str, *args: Any) -> None:
        """Tests read ``calls`` instead."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    calls: list[Call]


class ProviderServer:
    """The providers; ``url`` is every one's base URL, and ``calls`` what they got so far."""

    def __init__(self) -> None:
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.calls = []
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    @property
    def calls(self) -> list[Call]:
        return self._server.calls

    def __enter__(self) -> "ProviderServer":
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
