"""Documents of every kind over HTTP: life, secrets, lists, pages."""

import itertools
from typing import Any

import httpx
import pytest

numbers = itertools.count()

MODEL = {"runtime": {"type": "openai", "model": "gpt-x"}, "integrationConnections": ["c"]}
KINDS: dict[str, dict[str, Any]] = {
    "agents": {"runtime": {"image": "a/b:1", "memory": 512, "envs": [{"name": "A", "value": "1"}]}},
    "functions": {"runtime": {"image": "a/b:1", "transport": "http-stream"}},
    "models": MODEL,
    "policies": {"type": "location", "locations": [{"type": "country", "name": "us"}]},
    "integrations/connections": {"integration": "openai", "secret": {"apiKey": "sk-1"}},
}


def unique(prefix: str = "r") -> str:
    """A name that no other test uses."""
    return f"{prefix}-{next(numbers)}"


@pytest.mark.parametrize("kind", KINDS)
def test_the_life_of_a_document(api: httpx.Client, kind: str) -> None:
    name = unique()
    body = {"metadata": {"name": name, "labels": {"team": "x"}}, "spec": KINDS[kind]}
    created = api.post(f"/v0/{kind}", json=body)
    assert created.status_code == 200, created.text
    metadata = created.json()["metadata"]
    assert (metadata["name"], metadata["workspace"]) == (name, "main")
    assert metadata["createdAt"].endswith("Z")
    read = api.get(f"/v0/{kind}/{name}").json()
    read.pop("events", None)
    assert read == created.json()
    again = api.post(f"/v0/{kind}", json=body)
    assert (again.status_code, again.json()["code"]) == (409, 409)
    assert again.json()["error"].endswith("_ALREADY_EXISTS")
    echoed = created.json() | {"events": [], "unknown": 1}
    echoed["metadata"] = metadata | {"labels": {"team": "y"}, "createdAt": "1999-01-01T00:00:00Z"}
    replaced = api.put(f"/v0/{kind}/{name}", json=echoed).json()
    assert replaced["metadata"]["labels"] == {"team": "y"}
    assert replaced["metadata"]["createdAt"] == metadata["createdAt"]
    deleted = api.delete(f"/v0/{kind}/{name}")
    assert (deleted.status_code, deleted.json()["metadata"]["name"]) == (200, name)
    for response in (api.get(f"/v0/{kind}/{name}"), api.delete(f"/v0/{kind}/{name}")):
        assert (response.status_code, response.json()["code"]) == (404, 404)
    assert api.put(f"/v0/{kind}/{name}", json=body).status_code == 404


def test_a_replace_is_full(api: httpx.Client) -> None:
    name = unique()
    api.post("/v0/models", json={"metadata": {"name": name, "labels": {"a": "b"}}, "spec": MODEL})
    replaced = api.put(f"/v0/models/{name}", json={"metadata": {}, "spec": {"enabled": False}})
    assert replaced.json()["spec"] == {"enabled": False}
    assert "labels" not in replaced.json()["metadata"]
    other = {"metadata": {"name": "other"}, "spec": {}}
    assert "renamed" in api.put(f"/v0/models/{name}", json=other).json()["message"]


def test_secrets_are_masked_kept_and_shown_only_on_request(api: httpx.Client, server: Any) -> None:
    name = unique()
    spec = {"integration": "openai", "secret": {"apiKey": "sk-very-secret", "org": "o-secret"}}
    path = f"/v0/integrations/connections/{name}"
    created = api.post(
        "/v0/integrations/connections", json={"metadata": {"name": name}, "spec": spec}
    )
    assert "sk-very-secret" not in created.text
    shown = api.get(path).json()
    assert set(shown["spec"]["secret"]["apiKey"]) == {"*"}
    shown["spec"]["secret"]["org"] = "o-new"
    assert "o-new" not in api.put(path, json=shown).text
    clear = api.get(path, params={"show_secrets": "true"}).json()["spec"]["secret"]
    assert clear == {"apiKey": "sk-very-secret", "org": "o-new"}
    files = list(server.data_dir.glob("serai.db*"))
    assert all(b"sk-very-secret" not in file.read_bytes() for file in files)
    assert "sk-very-secret" not in server.log.read_text()


def test_secret_environment_values_are_masked(api: httpx.Client) -> None:
    name = unique()
    envs = [{"name": "OPEN", "value": "1"}, {"name": "HIDDEN", "value": "s3cret", "secret": True}]
    body = {"metadata": {"name": name}, "spec": {"runtime": {"envs": envs}}}
    shown = api.post("/v0/agents", json=body).json()
    assert [set(env["value"]) == {"*"} for env in shown["spec"]["runtime"]["envs"]] == [False, True]
    api.put(f"/v0/agents/{name}", json=shown)
    clear = api.get(f"/v0/agents/{name}?show_secrets=true").json()
    assert clear["spec"]["runtime"]["envs"] == envs


@pytest.fixture(scope="module")
def agents(server: Any) -> list[str]:
    """25 agents whose names sort as they were made."""
    names = [f"page-{number:02}" for number in range(25)]
    with server.client_for("test-admin-key-with-enough-characters") as client:
        for number, name in enumerate(names):
            labels = {"parity": "even" if number % 2 == 0 else "odd"}
            body = {"metadata": {"name": name, "labels": labels}, "spec": {}}
            assert client.post("/v0/agents", json=body).status_code == 200
    return names


def walk(api: httpx.Client, **params: Any) -> list[str]:
    """Every name of a list, page by page."""
    found: list[str] = []
    cursor = None
    while True:
        page = api.get("/v0/agents", params=params | ({"cursor": cursor} if cursor else {})).json()
        found += [item["metadata"]["name"] for item in page["data"]]
        cursor = page["meta"]["nextCursor"]
        assert page["meta"]["hasMore"] == bool(cursor)
        if not cursor:
            return found


@pytest.mark.parametrize("limit", [1, 7, 25, 200])
def test_pages_cover_the_list_once(api: httpx.Client, agents: list[str], limit: int) -> None:
    assert walk(api, q="page-", sort="name:asc", limit=limit) == agents
    assert walk(api, q="page-", sort="createdAt:asc", limit=limit) == agents
    assert walk(api, q="page-", limit=limit) == agents[::-1]


def test_search_finds_labels_and_names(api: httpx.Client, agents: list[str]) -> None:
    assert walk(api, q="EVEN", sort="name:asc") == agents[::2]
    assert walk(api, q="page-1", sort="name:asc") == agents[10:20]
    assert walk(api, q="100%_") == []
    total = api.get("/v0/agents", params={"q": "page-1", "limit": 1}).json()["meta"]["total"]
    assert total >= 25


def test_the_last_page(api: httpx.Client, agents: list[str]) -> None:
    page = api.get("/v0/agents?q=page-&sort=name:asc&anchor=end&limit=4").json()
    assert [item["metadata"]["name"] for item in page["data"]] == agents[-4:]
    assert page["meta"]["hasMore"] is False


def test_lists_before_pages_are_bare_arrays(api: httpx.Client, agents: list[str]) -> None:
    for version in ("2026-04-16", "2026-04-20.preview"):
        listed = api.get("/v0/agents", headers={"Blaxel-Version": version}).json()
        assert set(agents) <= {item["metadata"]["name"] for item in listed}
    connections = api.get("/v0/integrations/connections").json()
    assert isinstance(connections, list)


def test_a_cursor_belongs_to_its_query(api: httpx.Client, agents: list[str]) -> None:
    cursor = api.get("/v0/agents?q=page-&limit=3").json()["meta"]["nextCursor"]
    for query in ("q=page-1", "sort=name:asc", "anchor=end", "status=DEPLOYED"):
        response = api.get(f"/v0/agents?cursor={cursor}&{query}")
        assert (response.status_code, response.json()["error"]) == (400, "INVALID_CURSOR")
    assert api.get(f"/v0/functions?q=page-&cursor={cursor}").status_code == 400
    assert api.get(f"/v0/agents?q=page-&limit=9&cursor={cursor}").status_code == 200
    for damaged in ("x", cursor[:-2], "A" + cursor[1:], "%00", "é"):
        assert api.get("/v0/agents", params={"q": "page-", "cursor": damaged}).status_code == 400


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("limit=ten", "limit"),
        ("limit=000000001999", "limit"),
        ("limit=1e2", "limit"),
        ("limit=99999999999999999999", "limit"),
        ("sort=size", "sort"),
        ("anchor=middle", "anchor"),
        ("q=a", "q"),
        ("status=NOPE", "status"),
    ],
)
def test_list_parameters_are_checked(api: httpx.Client, params: str, field: str) -> None:
    response = api.get(f"/v0/agents?{params}")
    assert response.status_code == 400
    assert response.json()["message"].startswith(field)


@pytest.mark.parametrize(
    ("kind", "spec", "field"),
    [
        ("agents", {"runtime": {"memory": 1}}, "spec.runtime.memory"),
        ("agents", {"runtime": {"minScale": 3, "maxScale": 1}}, "spec.runtime.minScale"),
        ("agents", {"revision": {"canaryPercent": 101}}, "spec.revision.canaryPercent"),
        ("agents", {"policies": ["Not A Name"]}, "spec.policies"),
        ("agents", {"runtime": {"envs": [{"name": "A"}, {"name": "A"}]}}, "spec.runtime.envs"),
        ("agents", {"runtime": {"envs": [{"name": "A=B"}]}}, "spec.runtime.envs"),
        ("functions", {"runtime": {"transport": "carrier-pigeon"}}, "spec.runtime.transport"),
        ("functions", {"runtime": {"ports": [{"target": 70000}]}}, "spec.runtime.ports"),
        ("policies", {"type": "flavor"}, "spec.flavors"),
        ("policies", {"type": "other"}, "spec.type"),
        ("integrations/connections", {"integration": ""}, "spec.integration"),
        (
            "integrations/connections",
            {"integration": "openai", "config": {"baseUrl": "ftp://x"}},
            "spec.config.baseUrl",
        ),
        (
            "integrations/connections",
            {"integration": "openai", "config": {"baseUrl": "http://u:p@x"}},
            "spec.config.baseUrl",
        ),
    ],
)
def test_rules_of_each_kind(api: httpx.Client, kind: str, spec: Any, field: str) -> None:
    response = api.post(f"/v0/{kind}", json={"metadata": {"name": unique()}, "spec": spec})
    assert response.status_code == 400, response.text
    assert field in response.json()["message"]


def test_labels_have_limits(api: httpx.Client) -> None:
    for labels in ({f"k{n}": "v" for n in range(51)}, {"": "v"}, {"k": "v" * 1025}):
        body = {"metadata": {"name": unique(), "labels": labels}, "spec": {}}
        response = api.post("/v0/agents", json=body)
        assert response.status_code == 400
        assert "metadata.labels" in response.json()["message"]
