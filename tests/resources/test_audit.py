"""The audit log."""

from typing import Any

import httpx
import pytest

from platform_server import Server


def entries(api: httpx.Client, **params: str) -> list[dict[str, Any]]:
    """Entries, newest first."""
    answered = api.get("/v0/audit", params=params)
    assert answered.status_code == 200, answered.text
    found: list[dict[str, Any]] = answered.json()["data"]
    return found


def test_every_write_is_told_with_its_difference(api: httpx.Client) -> None:
    envs = [{"name": "T", "value": "hush-1", "secret": True}]
    body = {
        "metadata": {"name": "audited"},
        "spec": {"runtime": {"image": "a:1", "memory": 256, "envs": envs}},
    }
    headers = {"x-request-id": "req-1", "user-agent": "tester/1"}
    created = api.post("/v0/agents", json=body, headers=headers).json()
    created["spec"]["runtime"]["memory"] = 512
    created["spec"]["runtime"]["envs"][0]["value"] = "hush-2"
    api.put("/v0/agents/audited", json=created)
    api.delete("/v0/agents/audited")
    deleted, updated, first = entries(api, kind="agent", name="audited")
    assert [e["action"] for e in (first, updated, deleted)] == ["create", "update", "delete"]
    assert first["requestId"] == "req-1"
    assert first["userAgent"] == "tester/1"
    assert first["client"] == "127.0.0.1"
    assert "@" in first["actor"]
    assert {"subject", "credential", "id", "time"} <= first.keys()
    assert first["resource"]["name"] == "audited"
    changes = {change["path"]: change for change in updated["changes"]}
    assert changes["spec.runtime.memory"] == {
        "path": "spec.runtime.memory",
        "before": 256,
        "after": 512,
    }
    assert set(changes["spec.runtime.envs.T"]["after"]) == {"*"}
    assert "hush" not in api.get("/v0/audit").text


def test_failed_writes_are_not_told(api: httpx.Client) -> None:
    before = api.get("/v0/audit").json()["meta"]["total"]
    assert api.put("/v0/agents/absent", json={"metadata": {}, "spec": {}}).status_code == 404
    assert api.post("/v0/agents", json={"metadata": {}, "spec": {}}).status_code == 400
    assert api.get("/v0/audit").json()["meta"]["total"] == before


def test_pages_and_filters(api: httpx.Client, server: Server) -> None:
    for number in range(5):
        api.post("/v0/models", json={"metadata": {"name": f"told-{number}"}, "spec": {}})
    page = api.get("/v0/audit", params={"kind": "model", "limit": 2}).json()
    assert [e["resource"]["name"] for e in page["data"]] == ["told-4", "told-3"]
    cursor = page["meta"]["nextCursor"]
    rest = api.get("/v0/audit", params={"kind": "model", "limit": 3, "cursor": cursor}).json()
    assert [e["resource"]["name"] for e in rest["data"]] == ["told-2", "told-1", "told-0"]
    assert rest["meta"]["hasMore"] is False
    assert api.get("/v0/audit", params={"cursor": cursor}).status_code == 400
    assert entries(api, action="nothing") == []


def test_quotas_are_told(api: httpx.Client) -> None:
    account = api.get("/v0/accounts").json()[0]["id"]
    api.put(f"/v0/quotas/account/{account}", json=[{"resourceType": "volumes", "value": 3}])
    newest = entries(api, limit="1")[0]
    assert newest["resource"]["kind"] == "quotas"
    assert newest["changes"] == [{"path": "*/volumes", "after": 3}]


@pytest.mark.sandbox
def test_sandboxes_are_told(api: httpx.Client) -> None:
    body = {"metadata": {"name": "boxed"}, "spec": {"runtime": {"memory": 256}}}
    created = api.post("/v0/sandboxes", json=body)
    again = api.post("/v0/sandboxes", json=body, params={"createIfNotExist": "true"})
    assert again.status_code == 200
    assert created.status_code == 200, created.text
    shown = api.get("/v0/sandboxes/boxed").json()
    assert [event["type"] for event in shown["events"]] == ["created", "status"]
    labelled = shown | {"metadata": shown["metadata"] | {"labels": {"a": "b"}}}
    stale = api.put("/v0/sandboxes/boxed", json=labelled, headers={"If-Match": '"x"'})
    assert stale.status_code == 409
    api.put("/v0/sandboxes/boxed", json=labelled)
    assert api.get("/v0/sandboxes/boxed").json()["events"] == shown["events"]
    api.delete("/v0/sandboxes/boxed")
    actions = [entry["action"] for entry in entries(api, kind="sandbox", name="boxed")]
    assert actions == ["delete", "update", "create"]
