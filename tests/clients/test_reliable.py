"""Models with fallbacks and a cache, called by the official clients of OpenAI and Anthropic."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from platform_server import Server

from .provider_server import ProviderServer
from .test_providers import run

pytestmark = pytest.mark.clients
DOWN = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def provider() -> Iterator[ProviderServer]:
    with ProviderServer() as made:
        yield made


def make(server: Server, name: str, kind: str, url: str, gateway: dict[str, Any]) -> None:
    connection = {
        "integration": kind,
        "config": {"baseUrl": url},
        "secret": {"apiKey": "sk-of-the-provider"},
    }
    model = {
        "integrationConnections": [name],
        "runtime": {"type": kind, "model": f"real-{kind}"},
        "gateway": gateway,
    }
    for path, spec in (("integrations/connections", connection), ("models", model)):
        made = server.client.post(f"/v0/{path}", json={"metadata": {"name": name}, "spec": spec})
        assert made.status_code == 200, made.text


def test_clients_notice_no_failure(
    server: Server, provider: ProviderServer, tmp_path: Path
) -> None:
    for kind in ("openai", "anthropic"):
        make(server, f"steady-{kind}", kind, provider.url, {"cache": {"ttlSeconds": 60}})
        falls = {
            "fallbacks": [f"steady-{kind}"],
            "retries": {"attempts": 1, "backoffMs": 1},
            "balance": {"failures": 100},
        }
        make(server, f"down-{kind}", kind, DOWN, falls)
    run("reliable.py", server, tmp_path)
    paths = [call.path for call in provider.calls]
    assert paths.count("/v1/chat/completions") == 2 + 1
    assert paths.count("/v1/messages") == 1 + 1
    assert paths.count("/v1/embeddings") == 1
    assert {call.body["model"] for call in provider.calls if isinstance(call.body, dict)} == {
        "real-openai",
        "real-anthropic",
    }
    forms = [call.body for call in provider.calls if isinstance(call.body, bytes)]
    assert len(forms) == 1
    assert b'name="model"\r\n\r\nreal-openai\r\n' in forms[0]
