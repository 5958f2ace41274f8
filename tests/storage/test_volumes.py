"""Volumes over HTTP: life, growth, templates, attachment and lists."""

from typing import Any

import httpx
import pytest

from .archive_files import tar

OLD = {"Blaxel-Version": "2026-04-16"}


def lasting(response: httpx.Response) -> dict[str, Any]:
    """A resource without its history."""
    return {key: value for key, value in response.json().items() if key != "events"}


def volume(name: str, **spec: Any) -> dict[str, Any]:
    """The body of a volume."""
    return {"metadata": {"name": name}, "spec": spec}


def template(api: httpx.Client, name: str, content: bytes | None, **spec: Any) -> None:
    """A template with one version, of this content if any."""
    body = {"metadata": {"name": name}, "spec": spec}
    created = api.post("/v0/volume_templates?upload=true", json=body)
    assert created.status_code == 200
    if content is not None:
        url = created.headers["X-Blaxel-Upload-Url"]
        assert httpx.put(url, content=content, trust_env=False).status_code == 200


def test_the_life_of_a_volume(api: httpx.Client, name: str) -> None:
    metadata = {"name": name, "labels": {"team": f"team-{name}"}, "externalId": f"X-{name}"}
    body = {"metadata": metadata, "spec": {"size": 512, "region": "us-pdx-1"}}
    created = api.post("/v0/volumes", json=body)
    assert created.status_code == 200, created.text
    shown = created.json()
    assert shown["spec"] == {"size": 512, "region": "us-pdx-1"}
    assert (shown["status"], shown["state"]) == ("DEPLOYED", {"attachedTo": ""})
    assert shown["metadata"]["displayName"] == name
    assert lasting(api.get(f"/v0/volumes/{name}")) == shown
    assert lasting(api.get(f"/v0/volumes/by-external-id/X-{name}")) == shown
    conflict = api.post("/v0/volumes", json=body)
    assert (conflict.status_code, conflict.json()["code"]) == (409, 409)
    assert conflict.json()["error"] == "VOLUME_ALREADY_EXISTS"
    assert conflict.headers["x-should-retry"] == "false"
    deleted = api.delete(f"/v0/volumes/{name}")
    assert (deleted.status_code, deleted.json()["metadata"]["name"]) == (200, name)
    for path in (name, f"by-external-id/X-{name}"):
        missing = api.get(f"/v0/volumes/{path}")
        assert (missing.status_code, missing.json()["error"]) == (404, "VOLUME_NOT_FOUND")
    assert api.post("/v0/volumes", json=volume(name)).json()["spec"] == {"size": 1024}


def test_a_volume_only_grows(api: httpx.Client, name: str) -> None:
    path = f"/v0/volumes/{name}"
    shown = api.post("/v0/volumes", json=volume(name, size=100, region="eu-lon-1")).json()
    shown["spec"]["size"] = 200
    shown["metadata"] |= {"labels": {"a": "b"}, "createdBy": "me"}
    grown = api.put(path, json=shown | {"status": "FAILED", "state": {"attachedTo": "x"}}).json()
    assert (grown["spec"]["size"], grown["metadata"]["labels"]) == (200, {"a": "b"})
    assert (grown["status"], grown["state"]["attachedTo"]) == ("DEPLOYED", "")
    assert grown["metadata"]["createdBy"] != "me"
    kept = api.put(path, json={"metadata": {}, "spec": {"size": None}}).json()
    assert kept["spec"] == {"size": 200, "region": "eu-lon-1"}
    for spec, field in (
        ({"size": 199}, "spec.size"),
        ({"region": "us-pdx-1"}, "spec.region"),
        ({"template": "t"}, "spec.template"),
    ):
        refused = api.put(path, json={"metadata": {}, "spec": spec})
        assert (refused.status_code, refused.json()["code"]) == (400, 400)
        assert refused.json()["message"].startswith(field)
    assert api.put("/v0/volumes/none", json={"metadata": {}, "spec": {}}).status_code == 404


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (volume("ok", size=0), "spec.size"),
        (volume("ok", size=10_485_761), "spec.size"),
        (volume("ok", size=1.5), "spec.size"),
        (volume("ok", size=2**70), "spec.size"),
        (volume("ok", region="x" * 64), "spec.region"),
        (volume("ok", region="a\nb"), "spec.region"),
        (volume("ok", template="none"), "spec.template"),
        (volume("Not OK"), "metadata.name"),
        ({"metadata": {"name": "ok", "externalId": "a b"}, "spec": {}}, "metadata.externalId"),
        ({"metadata": {"name": "ok", "labels": {"": "x"}}, "spec": {}}, "metadata.labels"),
        ({"metadata": {}, "spec": {}}, "metadata.name"),
        ({"spec": {}}, "metadata"),
    ],
)
def test_rules(api: httpx.Client, body: Any, field: str) -> None:
    response = api.post("/v0/volumes", json=body)
    assert (response.status_code, response.json()["code"]) == (400, 400), response.text
    assert field in response.json()["message"]


def test_a_volume_from_a_template(api: httpx.Client, name: str) -> None:
    template(api, name, tar(("x", b"1" * 3 * 1024 * 1024), mode="w:gz"), defaultSize=7)
    made = api.post("/v0/volumes", json=volume(name, template=name)).json()
    assert made["spec"] == {"template": f"{name}:1", "size": 7}
    for reference in (f"{name}:latest", name, f"{name}:1", None):
        sent = {"metadata": {}, "spec": {"template": reference}}
        assert api.put(f"/v0/volumes/{name}", json=sent).json()["spec"] == made["spec"]
    other = {"metadata": {}, "spec": {"template": "other"}}
    assert api.put(f"/v0/volumes/{name}", json=other).status_code == 400
    small = api.post("/v0/volumes", json=volume(f"{name}-s", template=f"{name}:1", size=2))
    assert (small.status_code, "take 3 MB" in small.json()["message"]) == (400, True)
    fits = api.post("/v0/volumes", json=volume(f"{name}-f", template=f"{name}:latest", size=3))
    assert fits.status_code == 200
    assert api.post("/v0/volumes", json=volume("x", template=f"{name}:9")).status_code == 400
    template(api, f"{name}-empty", None)
    empty = api.post("/v0/volumes", json=volume("x", template=f"{name}-empty"))
    assert "no version 'latest'" in empty.json()["message"]


def test_an_attached_volume_stays(api: httpx.Client, name: str) -> None:
    api.post("/v0/volumes", json=volume(name))
    attached = [
        {"name": "scratch", "type": "ephemeral", "sizeMb": 10, "mountPath": "/tmp"},
        {"name": name, "mountPath": "/data"},
    ]
    agent = {"metadata": {"name": name}, "spec": {"volumes": attached}}
    assert api.post("/v0/agents", json=agent).status_code == 200
    assert api.get(f"/v0/volumes/{name}").json()["state"] == {"attachedTo": f"agent:{name}"}
    listed = api.get("/v0/volumes", params={"q": name}).json()["data"]
    assert listed[0]["state"] == {"attachedTo": f"agent:{name}"}
    refused = api.delete(f"/v0/volumes/{name}")
    assert (refused.status_code, refused.json()["error"]) == (409, "VOLUME_ATTACHED")
    assert f"agent:{name}" in refused.json()["message"]
    api.put(f"/v0/agents/{name}", json={"metadata": {}, "spec": {}})
    assert api.get(f"/v0/volumes/{name}").json()["state"] == {"attachedTo": ""}
    assert api.delete(f"/v0/volumes/{name}").status_code == 200


def test_lists_show_little_and_search_all(api: httpx.Client, name: str) -> None:
    for number in range(3):
        metadata = {
            "name": f"{name}-{number}",
            "labels": {"suite": f"Integration-{name}"},
            "externalId": f"{name}-ext-{number}",
        }
        api.post("/v0/volumes", json={"metadata": metadata, "spec": {"region": "us-pdx-1"}})
    page = api.get("/v0/volumes", params={"q": f"integration-{name}", "limit": 2}).json()
    assert [item["metadata"]["name"] for item in page["data"]] == [f"{name}-2", f"{name}-1"]
    metadata = {"name", "displayName", "externalId", "createdAt", "updatedAt"}
    assert set(page["data"][0]["metadata"]) == metadata
    assert page["data"][0]["spec"] == {"size": 1024, "region": "us-pdx-1"}
    assert page["meta"]["hasMore"] is True
    params = {"q": f"integration-{name}", "limit": 2, "cursor": page["meta"]["nextCursor"]}
    rest = api.get("/v0/volumes", params=params).json()
    assert [item["metadata"]["name"] for item in rest["data"]] == [f"{name}-0"]
    found = api.get("/v0/volumes", params={"externalId": f"{name}-ext-1"}).json()["data"]
    assert [item["metadata"]["name"] for item in found] == [f"{name}-1"]
    assert api.get("/v0/volumes", params={"status": "FAILED", "q": name}).json()["data"] == []
    old = api.get("/v0/volumes", headers=OLD).json()
    assert {f"{name}-{number}" for number in range(3)} <= {v["metadata"]["name"] for v in old}
