"""Integrations, and the models that a connection's provider really lists."""

import itertools
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from platform_server import Server, free_port

numbers = itertools.count()


def connect(
    api: httpx.Client, base: str | None, key: str = "sk-right", integration: str = "openai"
) -> str:
    """A connection; returns its path."""
    name = f"c-{next(numbers)}"
    spec: dict[str, Any] = {"integration": integration, "secret": {"apiKey": key}}
    if base:
        spec["config"] = {"baseUrl": base}
    body = {"metadata": {"name": name}, "spec": spec}
    assert api.post("/v0/integrations/connections", json=body).status_code == 200
    return f"/v0/integrations/connections/{name}"


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("openai", "/v1/chat/completions"),
        ("mistral", "/v1/chat/completions"),
        ("anthropic", "/v1/messages"),
        ("cohere", "/v2/chat"),
    ],
)
def test_integrations_name_their_endpoints(api: httpx.Client, name: str, path: str) -> None:
    shown = api.get(f"/v0/integrations/{name}").json()
    assert shown["name"] == name
    assert shown["endpoints"][path]["method"] == "POST"


def test_unknown_integrations(api: httpx.Client) -> None:
    answer = api.get("/v0/integrations/nope")
    assert (answer.status_code, answer.json()["error"]) == (404, "INTEGRATION_NOT_FOUND")
    assert isinstance(api.get("/v0/integrations/connections").json(), list)


@pytest.mark.parametrize("suffix", ["", "/v1", "/v1/"])
@pytest.mark.parametrize("integration", ["openai", "anthropic", "my-own"])
def test_models_come_from_the_provider(
    api: httpx.Client, provider: str, suffix: str, integration: str
) -> None:
    path = connect(api, provider + suffix, integration=integration)
    models = api.get(f"{path}/models").json()
    assert [model["id"] for model in models] == ["small", "org/large"]
    assert models[0]["owned_by"] == "x"
    assert api.get(f"{path}/models/small").json() == models[0]
    assert api.get(f"{path}/models/org/large").json() == {"id": "org/large"}
    assert api.get(f"{path}/models/org%2Flarge").json() == {"id": "org/large"}
    absent = api.get(f"{path}/models/huge")
    assert (absent.status_code, absent.json()["error"]) == (404, "MODEL_NOT_FOUND")
    configured = api.get(f"{path}/endpointConfigurations").json()
    assert configured[0]["url"] == provider + configured[0]["path"]


@pytest.mark.parametrize(
    ("below", "key", "status", "code"),
    [
        ("", "sk-wrong", 400, "PROVIDER_REFUSED_KEY"),
        ("/broken", "sk-right", 502, "PROVIDER_ANSWER_UNREADABLE"),
        ("/failing", "sk-right", 502, "PROVIDER_FAILED"),
        ("/moved", "sk-right", 502, "PROVIDER_FAILED"),
        ("/absent", "sk-right", 400, "PROVIDER_HAS_NO_MODELS"),
    ],
)
def test_a_providers_trouble_is_told(
    api: httpx.Client, provider: str, below: str, key: str, status: int, code: str
) -> None:
    answer = api.get(f"{connect(api, provider + below, key)}/models")
    assert (answer.status_code, answer.json()["error"]) == (status, code)
    assert provider in answer.json()["message"]
    assert key not in answer.text


def test_a_provider_that_is_away(api: httpx.Client) -> None:
    answer = api.get(f"{connect(api, f'http://127.0.0.1:{free_port()}')}/models")
    assert (answer.status_code, answer.json()["error"]) == (502, "PROVIDER_UNREACHABLE")
    nowhere = api.get(f"{connect(api, None, integration='hf_private_endpoint')}/models")
    assert nowhere.status_code == 400
    assert "spec.config.baseUrl" in nowhere.json()["message"]
    assert api.get("/v0/integrations/connections/nope/models").status_code == 404


def test_connections_are_the_workspaces_own(
    api: httpx.Client, stranger: httpx.Client, provider: str
) -> None:
    assert stranger.get(f"{connect(api, provider)}/models").status_code == 404


def test_an_operator_adds_an_integration(
    new_server: Callable[[dict[str, str]], Server], provider: str
) -> None:
    own = f'[[integrations]]\nname = "house-llm"\nbaseUrl = "{provider}"\n'
    made = new_server({"catalogue/integrations.toml": own}).start()
    shown = made.client.get("/v0/integrations/house-llm").json()
    assert list(shown["endpoints"]) == ["/v1/chat/completions"]
    path = connect(made.client, None, integration="house-llm")
    assert made.client.get(f"{path}/models/small").json()["owned_by"] == "x"
