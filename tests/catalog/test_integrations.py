"""Integrations, and the models that a connection's provider really lists."""

import itertools
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from platform_server import Server, free_port

numbers = itertools.count()


def connect(
    api: httpx.Client,
    base: str | None,
    key: str = "sk-right",
    integration: str = "openai",
    **config: str,
) -> str:
    """A connection; returns its path."""
    name = f"c-{next(numbers)}"
    spec: dict[str, Any] = {"integration": integration, "secret": {"apiKey": key}}
    if base:
        config["baseUrl"] = base
    spec["config"] = config
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


@pytest.mark.parametrize(
    ("integration", "config", "url"),
    [
        ("openai", {}, "https://api.openai.com/v1/chat/completions"),
        ("groq", {}, "https://api.groq.com/openai/v1/chat/completions"),
        ("huggingface", {}, "https://router.huggingface.co/v1/chat/completions"),
        (
            "azure-openai-service",
            {"baseUrl": "https://x.openai.azure.com"},
            "https://x.openai.azure.com/openai/v1/chat/completions",
        ),
        (
            "azure-ai-inference",
            {"endpoint": "https://x.services.ai.azure.com/"},
            "https://x.services.ai.azure.com/models/chat/completions?api-version=2024-05-01-preview",
        ),
        (
            "vertexai",
            {"project": "p", "location": "europe-west1"},
            "https://europe-west1-aiplatform.googleapis.com/v1/projects/p/locations/europe-west1"
            "/endpoints/openapi/chat/completions",
        ),
        (
            "vertexai",
            {"project": "p", "location": "global"},
            "https://aiplatform.googleapis.com/v1/projects/p/locations/global"
            "/endpoints/openapi/chat/completions",
        ),
    ],
)
def test_endpoints_are_where_the_gateway_sends(
    api: httpx.Client, integration: str, config: dict[str, str], url: str
) -> None:
    path = connect(api, None, integration=integration, **config)
    shown = {one["path"]: one for one in api.get(f"{path}/endpointConfigurations").json()}
    assert shown["/v1/chat/completions"]["url"] == url
    assert list(shown) == list(api.get(f"/v0/integrations/{integration}").json()["endpoints"])


@pytest.mark.parametrize(
    ("integration", "config", "key", "told"),
    [
        ("azure-openai-service", {}, "k", "openai.azure.com"),
        ("vertexai", {"location": "evil.com/"}, "k", "spec.config.location"),
        ("vertexai", {"project": "../x"}, "k", "spec.config.project"),
        ("vertexai", {}, '{"type": "service_account"}', "private_key"),
        ("azure-ai-inference", {"baseUrl": "http://x", "apiVersion": "1&2"}, "k", "api-version"),
        ("azure-ai-inference", {"endpoint": "http://x/a b"}, "k", "plain http(s) URL"),
        ("azure-ai-inference", {"endpoint": "file:///etc/passwd"}, "k", "plain http(s) URL"),
        ("openai", {}, "k\r\nx: y", "spec.secret.apiKey"),
    ],
)
def test_a_connection_that_leads_nowhere_says_so(
    api: httpx.Client, integration: str, config: dict[str, str], key: str, told: str
) -> None:
    path = connect(api, None, key, integration, **config)
    answer = api.get(f"{path}/endpointConfigurations")
    assert answer.status_code == 400
    assert told in answer.json()["message"]
    called = api.get(f"/main/models/{model(api, path, integration)}/v1/models")
    assert (called.status_code, called.json()["error"]["code"]) == (503, "MODEL_NOT_USABLE")
    assert told in called.json()["message"]


def model(api: httpx.Client, connection: str, kind: str, **spec: Any) -> str:
    """A model of a connection; returns its name."""
    name = f"m-{next(numbers)}"
    spec |= {"integrationConnections": [connection.rpartition("/")[2]], "runtime": {"type": kind}}
    made = api.post("/v0/models", json={"metadata": {"name": name}, "spec": spec})
    assert made.status_code == 200, made.text
    return name


def test_models_that_are_off_or_lack_their_connection(api: httpx.Client, provider: str) -> None:
    path = connect(api, provider)
    name = model(api, path, "openai")
    assert api.get(f"/main/models/{name}/v1/models").json()["data"][0]["id"] == "small"
    off = model(api, path, "openai", enabled=False)
    refused = api.get(f"/main/models/{off}/v1/models").json()["error"]
    assert (refused["status"], refused["code"]) == (403, "MODEL_DISABLED")
    lost = model(api, "x/not-there", "openai")
    refused = api.get(f"/main/models/{lost}/v1/models").json()["error"]
    assert (refused["status"], refused["code"]) == (503, "MODEL_NOT_USABLE")
    assert "'not-there'" in refused["message"]
    spec = {
        "integration": "openai",
        "config": {"baseUrl": provider},
        "secret": {"apiKey": "sk-right"},
    }
    body = {"metadata": {"name": "not-there"}, "spec": spec}
    assert api.post("/v0/integrations/connections", json=body).status_code == 200
    assert api.get(f"/main/models/{lost}/v1/models").status_code == 200
