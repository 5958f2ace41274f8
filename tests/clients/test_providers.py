"""Every provider type, called with the providers' own SDKs and the Python SDK's adapters."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from google_tokens import TOKEN, TokenServer
from platform_server import KEY, Server, today

from .conftest import connected
from .environments import CACHE
from .provider_server import Call, ProviderServer

pytestmark = pytest.mark.clients
SECRET = "sk-of-the-provider"

PLACES = {
    "openai": ("/v1/chat/completions", "authorization"),
    "mistral": ("/v1/chat/completions", "authorization"),
    "deepseek": ("/v1/chat/completions", "authorization"),
    "xai": ("/v1/chat/completions", "authorization"),
    "groq": ("/v1/chat/completions", "authorization"),
    "cerebras": ("/v1/chat/completions", "authorization"),
    "huggingface": ("/v1/chat/completions", "authorization"),
    "hf-private-endpoint": ("/v1/chat/completions", "authorization"),
    "openrouter": ("/v1/chat/completions", "authorization"),
    "house": ("/v1/chat/completions", "authorization"),
    "azure-openai-service": ("/openai/v1/chat/completions", "api-key"),
    "azure-ai-inference": ("/chat/completions", "api-key"),
    "gemini": ("/v1beta/openai/chat/completions", "authorization"),
    "cohere": ("/compatibility/v1/chat/completions", "authorization"),
    "vertexai": (
        "/v1/projects/my-project/locations/europe-west1/endpoints/openapi/chat/completions",
        "authorization",
    ),
}


@pytest.fixture(scope="module")
def tokens() -> Iterator[TokenServer]:
    with TokenServer() as made:
        yield made


@pytest.fixture(scope="module")
def provider() -> Iterator[ProviderServer]:
    with ProviderServer() as made:
        yield made


@pytest.fixture(scope="module")
def models(server: Server, provider: ProviderServer, tokens: TokenServer) -> None:
    """One model of each type, named ``p-TYPE``."""
    for kind in [*PLACES, "anthropic"]:
        config = {"baseUrl": provider.url}
        secret = {"apiKey": SECRET}
        if kind == "vertexai":
            config |= {"location": "europe-west1"}
            secret = {"apiKey": tokens.account}
        create(
            server, kind, kind.replace("hf-private-endpoint", "hf_private_endpoint"), config, secret
        )
    dated = {"baseUrl": provider.url, "apiVersion": "2024-10-21"}
    create(server, "azure-dated", "azure-openai-service", dated, {"apiKey": SECRET})


def create(
    server: Server, name: str, kind: str, config: dict[str, str], secret: dict[str, str]
) -> None:
    known = server.client.get(f"/v0/integrations/{kind}").status_code == 200
    runtime: dict[str, str] = {"model": f"real-{name}"}
    if known and kind != "openrouter":  # which is no type of the contract
        runtime["type"] = kind
    spec = {"integration": kind, "config": config, "secret": secret}
    for path, body in (
        ("integrations/connections", spec),
        ("models", {"integrationConnections": [f"p-{name}"], "runtime": runtime}),
    ):
        made = server.client.post(
            f"/v0/{path}", json={"metadata": {"name": f"p-{name}"}, "spec": body}
        )
        assert made.status_code == 200, made.text


def run(program: str, server: Server, workdir: Path) -> None:
    python = CACHE / "providers" / "bin" / "python"
    if not (CACHE / "providers" / ".ready").exists():
        pytest.skip("NOT TESTED: the providers' SDKs are not installed: run `make clients`")
    assert "done" in connected(server, workdir, str(python))(program)


def clean(calls: list[Call]) -> None:
    """Nothing of the client's credentials has reached the provider."""
    for call in calls:
        told = str((call.path, call.query, call.headers))
        assert KEY not in told
        assert "x-blaxel" not in told
        keys = [call.headers.get(name) for name in ("x-api-key", "x-goog-api-key", "api-key")]
        sent = [call.headers.get("authorization"), *keys]
        assert sum(value is not None for value in sent) == 1, call


@pytest.mark.usefixtures("models")
def test_the_providers_own_sdks(
    server: Server, provider: ProviderServer, tokens: TokenServer, tmp_path: Path
) -> None:
    before = len(provider.calls)
    run("providers.py", server, tmp_path)
    calls = provider.calls[before:]
    clean(calls)
    for kind, (path, header) in PLACES.items():
        named = (f"real-{kind}", f"google/real-{kind}")
        mine = [c for c in calls if isinstance(c.body, dict) and c.body.get("model") in named]
        chats = [call for call in mine if call.path.endswith("/chat/completions")]
        assert [call.path for call in chats[:2]] == [path] * 2, kind
        token = TOKEN if kind == "vertexai" else SECRET
        expected = f"Bearer {token}" if header == "authorization" else token
        assert {call.headers[header] for call in chats} == {expected}
    assert tokens.asked == 1
    paths = {(call.path, call.query) for call in calls}
    assert {
        ("/v1/responses", ""),
        ("/v1/embeddings", ""),
        ("/v1/audio/transcriptions", ""),
        ("/v1/messages", ""),
        ("/v1/models/real-gemini:generateContent", ""),
        ("/v1/models/real-gemini:streamGenerateContent", "alt=sse"),
        ("/v2/chat", ""),
        ("/v2/rerank", ""),
        ("/openai/deployments/real-azure-dated/chat/completions", "api-version=2024-10-21"),
        ("/chat/completions", "api-version=2024-05-01-preview"),
    } <= paths, sorted(paths)
    for kind in ("openai", "anthropic", "gemini", "cohere", "vertexai", "azure-ai-inference"):
        assert tokens_of(server, f"p-{kind}") > 0, kind


def tokens_of(server: Server, name: str) -> float:
    """Output tokens on the bill; waits until they are there."""
    [account] = server.client.get("/v0/accounts").json()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        params = today(groupBy="billing_dimension", resourceName=name)
        url = f"/v0/accounts/{account['id']}/metrics"
        for group in server.client.get(url, params=params).json()["data"]:
            if group["billingDimension"] == "model_output_tokens_count":
                return float(group["summary"]["usage"])
        time.sleep(0.1)
    raise AssertionError(f"{name} has no output tokens on the bill")


@pytest.mark.usefixtures("models")
def test_the_adapters_of_the_python_sdk(
    server: Server, provider: ProviderServer, tmp_path: Path
) -> None:
    before = len(provider.calls)
    run("adapters.py", server, tmp_path)
    clean(provider.calls[before:])
