"""Models with rate limits, called by the official clients of OpenAI and Anthropic."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from platform_server import Server

from .provider_server import ProviderServer
from .test_providers import run

pytestmark = pytest.mark.clients
LIMITS = [
    {"requests": 2, "per": "second", "by": "key"},
    {"tokens": 100_000, "per": "hour", "by": "workspace"},
]


@pytest.fixture(scope="module")
def provider() -> Iterator[ProviderServer]:
    with ProviderServer() as made:
        yield made


def test_the_clients_own_retries_succeed(
    server: Server, provider: ProviderServer, tmp_path: Path
) -> None:
    for kind in ("openai", "anthropic"):
        name = f"limited-{kind}"
        connection = {
            "integration": kind,
            "config": {"baseUrl": provider.url},
            "secret": {"apiKey": "sk-of-the-provider"},
        }
        model = {
            "integrationConnections": [name],
            "runtime": {"type": kind, "model": f"real-{kind}"},
            "gateway": {"rateLimits": LIMITS},
        }
        for path, spec in (("integrations/connections", connection), ("models", model)):
            made = server.client.post(
                f"/v0/{path}", json={"metadata": {"name": name}, "spec": spec}
            )
            assert made.status_code == 200, made.text
    run("limited.py", server, tmp_path)
    assert len([call for call in provider.calls if call.body]) == 3 + 3 + 1
