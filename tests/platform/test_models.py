"""A model behind an OpenAI-compatible server: proxying, failures, and what it adds to the bill."""

import itertools
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest

from platform_server import KEY, Server, today

numbers = itertools.count()
USAGE = {"prompt_tokens": 11, "completion_tokens": 5, "total_tokens": 16}


class Provider(BaseHTTPRequestHandler):
    """An OpenAI-compatible server that notes what it was sent."""

    protocol_version = "HTTP/1.1"
    seen: list[tuple[str, dict[str, str], dict[str, Any]]] = []

    def do_POST(self) -> None:
        """Answer as the prompt asks: json, stream, break, error, slow."""
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.seen.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
        prompt = body["messages"][0]["content"]
        if prompt == "error":
            self._send(429, {"error": {"message": "slow down"}}, {"Retry-After": "7"})
        elif body.get("stream"):
            self._stream(broken=prompt == "break")
        elif prompt == "break":
            self.send_response(200)
            self.send_header("content-length", "1000")
            self.end_headers()
            self.wfile.write(b'{"half":')
            self.close_connection = True
        else:
            message = {"role": "assistant", "content": "hi"}
            self._send(200, {"choices": [{"message": message}], "usage": USAGE}, {})

    def _send(self, status: int, body: dict[str, Any], headers: dict[str, str]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def _stream(self, *, broken: bool) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        self._event({"choices": [{"delta": {"content": "h"}}]})
        if broken:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        self._event({"choices": [{"delta": {"content": "i"}}]})
        self._event({"choices": [], "usage": USAGE})
        self._chunk(b"data: [DONE]\n\n")
        self._chunk(b"")

    def _event(self, body: dict[str, Any]) -> None:
        self._chunk(b"data: " + json.dumps(body).encode() + b"\n\n")

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    def log_message(self, *_: Any) -> None:
        """Quiet."""


@pytest.fixture(scope="module")
def provider() -> Iterator[str]:
    """The base URL of a running provider."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Provider)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()


def add_model(api: httpx.Client, base_url: str, secret: str = "sk-provider") -> str:
    """A model on a connection of its own; returns its name."""
    name = f"model-{next(numbers)}"
    connection = {
        "integration": "openai",
        "secret": {"apiKey": secret},
        "config": {"baseUrl": base_url},
    }
    made = api.post(
        "/v0/integrations/connections", json={"metadata": {"name": name}, "spec": connection}
    )
    assert made.status_code == 200, made.text
    spec = {
        "runtime": {"type": "openai", "model": "provider-model"},
        "integrationConnections": [name],
    }
    assert api.post("/v0/models", json={"metadata": {"name": name}, "spec": spec}).is_success
    return name


def ask(prompt: str, **more: Any) -> dict[str, Any]:
    """A chat completion request."""
    return {"model": "anything", "messages": [{"role": "user", "content": prompt}], **more}


def tokens_of(api: httpx.Client, name: str, expected: int) -> None:
    """Wait until the bill shows as many tokens and no more."""
    account = api.get("/v0/accounts").json()[0]["id"]
    deadline = time.monotonic() + 20
    while True:
        answer = api.get(
            f"/v0/accounts/{account}/metrics",
            params=today(groupBy="billing_dimension", resourceName=name),
        )
        assert answer.status_code == 200, answer.text
        found = {row["billingDimension"]: row["summary"]["usage"] for row in answer.json()["data"]}
        tokens = sum(value for key, value in found.items() if "tokens" in key)
        if tokens == expected:
            return
        assert tokens < expected
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.parametrize("prefix", ["", "/run"])
def test_json_is_proxied_and_counted(api: httpx.Client, provider: str, prefix: str) -> None:
    name = add_model(api, provider)
    Provider.seen.clear()
    answer = api.post(
        f"{prefix}/main/models/{name}/v1/chat/completions",
        json=ask("hello", temperature=0.5),
        headers={"x-api-key": "leak", "x-goog-api-key": "leak"},
    )
    assert (answer.status_code, answer.json()["usage"]) == (200, USAGE)
    path, headers, body = Provider.seen[0]
    assert path == "/v1/chat/completions"
    assert headers["authorization"] == "Bearer sk-provider"
    assert (body["model"], body["temperature"]) == ("provider-model", 0.5)
    assert KEY not in str(headers)
    assert "leak" not in str(headers)
    assert not [header for header in headers if header.startswith("x-blaxel")]
    tokens_of(api, name, 16)


def test_a_stream_is_proxied_and_counted(api: httpx.Client, provider: str) -> None:
    name = add_model(api, provider)
    url = f"/main/models/{name}/v1/chat/completions"
    with api.stream("POST", url, json=ask("hello", stream=True)) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        text = answer.read().decode()
    assert text.count("data: ") == 3
    assert text.endswith("data: [DONE]\n\n")
    tokens_of(api, name, 16)
    with_usage = ask("hello", stream=True, stream_options={"include_usage": True})
    assert '"usage"' in api.post(url, json=with_usage).text


def test_a_provider_error_passes_through(api: httpx.Client, provider: str) -> None:
    name = add_model(api, provider)
    answer = api.post(f"/main/models/{name}/v1/chat/completions", json=ask("error"))
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "7")
    assert answer.json() == {"error": {"message": "slow down"}}


def test_a_stream_that_breaks_is_not_mistaken_for_a_whole_one(
    api: httpx.Client, provider: str
) -> None:
    name = add_model(api, provider)
    url = f"/main/models/{name}/v1/chat/completions"
    received = bytearray()

    def read() -> None:
        with api.stream("POST", url, json=ask("break", stream=True)) as answer:
            for data in answer.iter_raw():
                received.extend(data)

    with pytest.raises(httpx.RemoteProtocolError):
        read()
    assert b'"content": "h"' in received
    assert b'"error"' in received
    assert b"[DONE]" not in received
    with pytest.raises(httpx.RemoteProtocolError):
        api.post(url, json=ask("break"))


def assert_gateway_error(answer: httpx.Response, status: int, origin: str = "platform") -> None:
    """The envelope of the data plane."""
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert error["status"] == status
    assert error["origin"] == origin
    assert error["message"]
    assert answer.headers["x-blaxel-source"] == "platform"


def test_a_provider_that_is_down(api: httpx.Client) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        name = add_model(api, f"http://127.0.0.1:{probe.getsockname()[1]}/v1")
    answer = api.post(f"/main/models/{name}/v1/chat/completions", json=ask("hello"))
    assert_gateway_error(answer, 502, "provider")


def test_a_model_needs_a_connection(api: httpx.Client) -> None:
    name = f"model-{next(numbers)}"
    api.post("/v0/models", json={"metadata": {"name": name}, "spec": {}})
    answer = api.post(f"/main/models/{name}/v1/chat/completions", json=ask("hello"))
    assert_gateway_error(answer, 503)
    assert "integrationConnections" in answer.json()["error"]["message"]


def test_bad_bodies_do_not_reach_the_provider(api: httpx.Client, provider: str) -> None:
    name = add_model(api, provider)
    Provider.seen.clear()
    for content in (b"{", b"[]", b"null"):
        answer = api.post(f"/main/models/{name}/v1/chat/completions", content=content)
        assert_gateway_error(answer, 400)
    assert not Provider.seen


@pytest.mark.parametrize("key", [None, "wrong"])
def test_models_need_a_key(server: Server, provider: str, key: str | None) -> None:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    url = f"{server.url}/main/models/x/v1/chat/completions"
    answer = httpx.post(url, json=ask("hello"), headers=headers, trust_env=False)
    assert_gateway_error(answer, 401)


def test_a_changed_secret_is_used_at_once(api: httpx.Client, provider: str) -> None:
    name = add_model(api, provider)
    path = f"/v0/integrations/connections/{name}"
    body = api.get(path).json()
    body["spec"]["secret"]["apiKey"] = "sk-rotated"
    api.put(path, json=body)
    Provider.seen.clear()
    api.post(f"/main/models/{name}/v1/chat/completions", json=ask("hello"))
    assert Provider.seen[0][1]["authorization"] == "Bearer sk-rotated"
    api.delete(f"/v0/models/{name}")
    answer = api.post(f"/main/models/{name}/v1/chat/completions", json=ask("hello"))
    assert_gateway_error(answer, 404)


def test_models_survive_a_restart(new_server: Callable[..., Server], provider: str) -> None:
    server = new_server().start()
    name = add_model(server.client, provider)
    url = f"/main/models/{name}/v1/chat/completions"
    assert server.client.post(url, json=ask("hello")).status_code == 200
    server.stop()
    server.start()
    assert server.client.post(url, json=ask("hello")).status_code == 200
    tokens_of(server.client, name, 32)


def test_a_spent_token_limit_refuses_further_calls(
    new_server: Callable[..., Server], provider: str
) -> None:
    server = new_server().start()
    name = add_model(server.client, provider)
    url = f"/main/models/{name}/v1/chat/completions"
    account = server.client.get("/v0/accounts").json()[0]["id"]
    limits = [{"resourceType": "model_tokens", "value": 20}]
    assert server.client.put(f"/v0/quotas/account/{account}", json=limits).status_code == 200
    for _ in range(2):
        assert server.client.post(url, json=ask("hello")).status_code == 200
    tokens_of(server.client, name, 32)
    deadline = time.monotonic() + 10
    while (refused := server.client.post(url, json=ask("hello"))).status_code == 200:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert_gateway_error(refused, 402)
    assert refused.json()["error"]["code"] == "USAGE_LIMIT_EXCEEDED"
    assert "20 model tokens" in refused.json()["error"]["message"]
    shown = server.client.get(f"/v0/quotas/account/{account}").json()[0]
    assert (shown["value"], shown["used"] >= 32) == (20, True)
    limits[0]["value"] = 10_000
    server.client.put(f"/v0/quotas/account/{account}", json=limits)
    deadline = time.monotonic() + 10
    while server.client.post(url, json=ask("hello")).status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.2)
