"""Revisions, events and audit entries of jobs, applications and storage."""

from typing import Any

import httpx
import pytest

CHANGES = {"created", "updated", "rollout"}


def put(api: httpx.Client, path: str, **spec: Any) -> dict[str, Any]:
    """Replace a resource."""
    response = api.put(path, json={"metadata": {}, "spec": spec})
    assert response.status_code == 200, response.text
    replaced: dict[str, Any] = response.json()
    return replaced


@pytest.mark.parametrize("kind", ["jobs", "applications"])
def test_revisions(api: httpx.Client, name: str, kind: str) -> None:
    def spec(image: str) -> dict[str, Any]:
        return {"image": image} if kind == "applications" else {"runtime": {"image": image}}

    path = f"/v0/{kind}/{name}"
    body = {"metadata": {"name": name}, "spec": spec("a:1")}
    first = api.post(f"/v0/{kind}", json=body).json()["spec"]["revision"]["active"]
    second = put(api, path, **spec("a:2"))["spec"]["revision"]["active"]
    assert [one["id"] for one in api.get(f"{path}/revisions").json()] == [second, first]
    back = put(api, path, revision={"active": first})
    assert back["spec"]["revision"]["active"] == first
    api.put(path, json=back | {"metadata": {"labels": {"a": "b"}}})
    assert len(api.get(f"{path}/revisions").json()) == 2
    mine = [each for each in api.get(path).json()["events"] if each["type"] in CHANGES]
    assert len(mine) == 3


def test_a_revision_without_an_image(api: httpx.Client, name: str) -> None:
    api.post("/v0/applications", json={"metadata": {"name": name}, "spec": {"memory": 512}})
    [revision] = api.get(f"/v0/applications/{name}/revisions").json()
    assert (revision["image"], revision["memory"]) == ("", 512)


@pytest.mark.parametrize("kind", ["jobs", "volumes", "drives", "volume_templates"])
def test_deletes_are_audited_and_matched(api: httpx.Client, name: str, kind: str) -> None:
    path, body = f"/v0/{kind}/{name}", {"metadata": {"name": name}, "spec": {}}
    assert api.post(f"/v0/{kind}", json=body).status_code == 200
    tag = api.put(path, json=body | {"metadata": {"labels": {"a": "b"}}}).headers["etag"]
    refused = api.delete(path, headers={"If-Match": '"other"'})
    assert (refused.status_code, refused.json()["error"]) == (409, "GENERATION_CONFLICT")
    assert api.delete(path, headers={"If-Match": tag}).status_code == 200
    if kind in {"volumes", "drives"}:
        api.post(f"/v0/{kind}", json=body)
        assert api.get(path).json()["events"][0]["message"]
