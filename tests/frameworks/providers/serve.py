"""Model providers on one socket, each below a path of its own, with the protocol that it has.

Runs where the providers' official SDKs are installed: answers are made of their types, and requests
are held against them. Prints its URL; ``GET /calls`` tells what it was sent.
"""

import json
import re
import sys
import traceback
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import wire_anthropic
import wire_cohere
import wire_google
import wire_openai
import wire_responses
from cerebras.cloud.sdk.types.chat.chat_completion import ChatChunkResponse, ChatCompletionResponse
from groq.types.chat import ChatCompletion, ChatCompletionChunk
from mistralai.models import ChatCompletionResponse as MistralResponse
from mistralai.models import ChatCompletionStreamRequest, CompletionChunk
from scene import Answer, Protocol, Refused

NO_OPTIONS = frozenset({"stream_options"})
CHAT = "/v1/chat/completions"
MODEL = r"/models/[^/:]+"
REGION = "/v1/projects/my-project/locations/europe-west1"


class _MistralRequest(ChatCompletionStreamRequest, extra="forbid"):
    stream: bool | None = None


def providers(secret: str, token: str) -> dict[str, list[Protocol]]:
    """What each provider can do, with the key that it wants, or the token of an account."""
    bearer = ("authorization", f"Bearer {secret}")
    account = ("authorization", f"Bearer {token}")
    google = ("x-goog-api-key", secret)
    azure = ("api-key", secret)
    chat = wire_openai.chat(CHAT, header=bearer)
    responses = wire_responses.responses("/v1/responses", bearer)
    cerebras = {
        "whole_type": ChatCompletionResponse,
        "chunk_type": ChatChunkResponse,
        "more": {"system_fingerprint": "fp_1", "time_info": {"total_time": 0.1}},
    }
    mistral = {
        "whole_type": MistralResponse,
        "chunk_type": CompletionChunk,
        "request_type": _MistralRequest,
        "call_id": "D681PevKs",  # it refuses others than nine letters and digits
        "silence": "",
    }
    return {
        "openai": [chat, responses],
        "deepseek": [chat],
        "xai": [chat, responses],
        "huggingface": [chat, responses],
        "groq": [
            wire_openai.chat(
                "/openai" + CHAT,
                header=bearer,
                whole_type=ChatCompletion,
                chunk_type=ChatCompletionChunk,
            )
        ],
        "cerebras": [wire_openai.chat(CHAT, header=bearer, always_counts=True, **cerebras)],
        "mistral": [wire_openai.chat(CHAT, header=bearer, always_counts=True, **mistral)],
        "azure-openai-service": [
            wire_openai.chat("/openai" + CHAT, header=azure),
            wire_responses.responses("/openai/v1/responses", azure),
        ],
        "azure-ai-inference": [
            wire_openai.chat("/chat/completions", header=azure, refused=NO_OPTIONS)
        ],
        "anthropic": [
            wire_anthropic.messages("/v1/messages", secret),
            wire_openai.chat(CHAT, header=("x-api-key", secret)),
        ],
        "gemini": [
            wire_google.generate("/v1(beta)?" + MODEL, google),
            wire_google.described("/v1(beta)?" + MODEL, google),
            wire_openai.chat("/v1beta/openai/chat/completions", header=bearer),
        ],
        "vertexai": [
            wire_google.generate(f"{REGION}/publishers/google{MODEL}", account),
            wire_openai.chat(f"{REGION}/endpoints/openapi/chat/completions", header=account),
        ],
        "cohere": [
            wire_cohere.chat("/v2/chat", bearer),
            wire_cohere.chat_v1("/v1/chat", bearer),
            wire_openai.chat(
                "/compatibility/v1/chat/completions", header=bearer, refused=NO_OPTIONS
            ),
        ],
    }


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "_Server"

    def do_GET(self) -> None:
        if self.path == "/calls":
            self._whole(self.server.calls)
        else:
            self._called("{}")

    def do_POST(self) -> None:
        self._called(self.rfile.read(int(self.headers["content-length"])))

    def _called(self, raw: str | bytes) -> None:
        url = urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        call = {"method": self.command, "path": url.path, "query": url.query}
        call |= {"headers": headers, "refused": ""}
        self.server.calls.append(call)
        try:
            call["body"] = json.loads(raw)
            self._send(self._answer(url.path, headers, call["body"]))
        except Refused as refused:
            call["refused"] = str(refused)
            self._whole(refused.body, refused.status)

    def _answer(self, path: str, headers: dict[str, str], body: Any) -> Answer:
        _, name, rest = path.split("/", 2)
        protocols = self.server.providers[name]
        for protocol in protocols:
            found = re.fullmatch(protocol.path, "/" + rest)
            if found is None:
                continue
            field, expected = protocol.header
            if headers.get(field) != expected:
                raise Refused(401, protocol.error(401, f"{field} is not the provider's key"))
            if headers.get("extra-parameters") == "drop":  # Azure's AI inference
                body = {field: value for field, value in body.items() if field not in NO_OPTIONS}
            return protocol.answer(body, ":stream" in rest)
        raise Refused(404, protocols[0].error(404, f"no such path: {path}"))

    def _send(self, answer: Answer) -> None:
        if answer.events is None:
            self._whole(answer.whole)
            return
        kind = "application/stream+json" if answer.lines else "text/event-stream"
        self._head(200, ("content-type", kind), ("transfer-encoding", "chunked"))
        for name, event in answer.events:
            data = event if isinstance(event, str) else json.dumps(event)
            text = (f"event: {name}\n" if name else "") + f"data: {data}\n\n"
            text = f"{data}\n" if answer.lines else text
            self.wfile.write(f"{len(text.encode()):x}\r\n{text}\r\n".encode())
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")

    def _whole(self, answer: Any, status: int = 200) -> None:
        content = json.dumps(answer).encode()
        kind = ("content-type", "application/json")
        self._head(status, kind, ("content-length", str(len(content))))
        self.wfile.write(content)

    def _head(self, status: int, *fields: tuple[str, str]) -> None:
        self.send_response(status)
        for name, value in fields:
            self.send_header(name, value)
        self.end_headers()

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except Exception:
            traceback.print_exc()  # an answer that is none: of this program, not of the client
            self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        """Tests ask for ``/calls`` instead."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    calls: list[dict[str, Any]]
    providers: dict[str, list[Protocol]]


def main() -> None:
    """Serve until a signal comes; arguments: the providers' key, and a service account's token."""
    server = _Server(("127.0.0.1", 0), _Handler)
    server.calls, server.providers = [], providers(*sys.argv[1:])
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
