"""Snapshots, forks and archives: what cannot be done here is said so, and nothing is made up."""

import httpx
import pytest

pytestmark = pytest.mark.sandbox
FORK = {"targetName": "copy", "targetType": "sandbox"}


def test_lists_are_truthfully_empty(api: httpx.Client, box: str) -> None:
    assert api.get(f"/v0/sandboxes/{box}/snapshots").json() == []
    page = api.get("/v0/snapshots", params={"limit": "10"}).json()
    assert page == {"data": [], "meta": {"hasMore": False, "nextCursor": "", "total": 0}}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v0/sandboxes/{box}/snapshots", {"name": "before"}),
        ("/v0/sandboxes/{box}/snapshots", None),
        ("/v0/snapshots", {"name": "before"}),
        ("/v0/sandboxes/{box}/fork", FORK),
        ("/v0/sandboxes/{box}/archive", None),
    ],
)
def test_making_one_is_refused_with_the_reason(
    api: httpx.Client, box: str, path: str, body: dict[str, str] | None
) -> None:
    refused = api.post(path.format(box=box), json=body)
    assert (refused.status_code, refused.json()["error"]) == (409, "NOT_AVAILABLE")
    assert refused.json()["code"] == 409
    assert "runtime" in refused.json()["message"]
    assert api.get(f"/v0/sandboxes/{box}").json()["status"] == "DEPLOYED"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v0/snapshots/none"),
        ("DELETE", "/v0/snapshots/none"),
        ("POST", "/v0/snapshots/none/fork"),
        ("DELETE", "/v0/sandboxes/{box}/snapshots/none"),
        ("POST", "/v0/sandboxes/{box}/snapshots/none/restore"),
    ],
)
def test_none_is_found(api: httpx.Client, box: str, method: str, path: str) -> None:
    answer = api.request(method, path.format(box=box))
    assert (answer.status_code, answer.json()["error"]) == (404, "SNAPSHOT_NOT_FOUND")


def test_the_sandbox_must_be_there(api: httpx.Client) -> None:
    for method, rest in (("GET", "snapshots"), ("POST", "fork"), ("POST", "archive")):
        answer = api.request(method, f"/v0/sandboxes/no-such-box/{rest}", json=FORK)
        assert (answer.status_code, answer.json()["error"]) == (404, "SANDBOX_NOT_FOUND")
    unarchived = api.post("/v0/sandboxes/no-such-box/unarchive")
    assert unarchived.status_code == 404


def test_a_living_sandbox_is_not_archived(api: httpx.Client, box: str) -> None:
    answer = api.post(f"/v0/sandboxes/{box}/unarchive")
    assert (answer.status_code, answer.json()["error"]) == (409, "SANDBOX_NOT_ARCHIVED")


def test_a_fork_says_what_it_needs(api: httpx.Client, box: str) -> None:
    answer = api.post(f"/v0/sandboxes/{box}/fork", json={"targetName": "copy"})
    assert answer.status_code == 400
    assert "targetType" in answer.json()["message"]
