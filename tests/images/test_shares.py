"""Sharing images within and across accounts."""

from typing import Any

import httpx
import pytest

from images_help import register, unique
from neighbours import change_database
from platform_server import Server
from serai.store.tables.sharing import image_shares

pytestmark = pytest.mark.sandbox


def share(api: httpx.Client, name: str, target: str, account: str | None = None) -> httpx.Response:
    """Share an image."""
    body = {"targetWorkspace": target} | ({"targetAccountId": account} if account else {})
    return api.post(f"/v0/images/sandbox/{name}/share", json=body)


def test_sharing_within_the_account(api: httpx.Client, neighbour: httpx.Client) -> None:
    name = unique()
    register(api, name)
    path = f"/v0/images/sandbox/{name}"
    assert neighbour.get(path).status_code == 404
    for _ in range(2):
        answer = share(api, name, "beside")
        assert (answer.status_code, answer.json()["metadata"]["name"]) == (200, name)
    (target,) = api.get(f"{path}/share").json()
    assert target | {"workspace": "beside", "status": "active"} == target
    assert target["accountOwnerEmail"] == "admin@localhost"
    seen = neighbour.get(path).json()["metadata"]
    assert (seen["sourceWorkspace"], seen["workspace"]) == ("main", "beside")
    listed = [item["metadata"]["name"] for item in neighbour.get("/v0/images").json()["data"]]
    assert name in listed
    register(api, name, "v2")
    assert neighbour.get(path).json()["spec"]["tagCount"] == 2
    assert neighbour.delete(f"{path}/tags/v2").status_code == 403
    assert share(neighbour, name, "main").status_code == 400
    assert neighbour.get(f"{path}/share").status_code == 400
    assert api.delete("/v0/images").status_code == 200
    assert api.get(path).status_code == 200
    assert api.delete(f"{path}/share/beside").json()["metadata"]["name"] == name
    assert api.delete(f"{path}/share/beside").status_code == 404
    assert neighbour.get(path).status_code == 404


def test_a_target_may_give_a_share_back(api: httpx.Client, neighbour: httpx.Client) -> None:
    name = unique()
    register(api, name)
    share(api, name, "beside")
    assert neighbour.delete(f"/v0/images/sandbox/{name}").status_code == 200
    assert neighbour.get(f"/v0/images/sandbox/{name}").status_code == 404
    assert api.get(f"/v0/images/sandbox/{name}").status_code == 200


def test_a_target_that_uses_an_image_keeps_it(api: httpx.Client, neighbour: httpx.Client) -> None:
    name, agent = unique(), unique()
    register(api, name)
    share(api, name, "beside")
    spec = {"runtime": {"image": f"sandbox/{name}"}}
    neighbour.post("/v0/agents", json={"metadata": {"name": agent}, "spec": spec})
    refused = api.delete(f"/v0/images/sandbox/{name}")
    assert refused.json()["error"] == "IMAGE_IN_USE"
    assert "workspace beside" in refused.json()["message"]
    assert agent not in refused.json()["message"]
    neighbour.delete(f"/v0/agents/{agent}")
    assert api.delete(f"/v0/images/sandbox/{name}").status_code == 200


def test_conflicts(api: httpx.Client, neighbour: httpx.Client) -> None:
    name = unique()
    register(api, name)
    register(neighbour, name)
    answer = share(api, name, "beside")
    assert (answer.status_code, answer.json()["error"]) == (409, "IMAGE_CONFLICT")
    assert share(api, name, "main").status_code == 400
    assert share(api, "nothing-here", "beside").status_code == 404


def test_sharing_across_accounts(api: httpx.Client, foreign: tuple[str, httpx.Client]) -> None:
    account, other = foreign
    name = unique()
    register(api, name)
    unnamed, absent = share(api, name, "elsewhere"), share(api, name, "elsewherf")
    assert (unnamed.status_code, absent.status_code) == (404, 404)
    assert unnamed.text.replace("elsewhere", "") == absent.text.replace("elsewherf", "")
    assert share(api, name, "elsewhere", "acc-wrong").status_code == 404
    pending = share(api, name, "elsewhere", account)
    assert pending.status_code == 202
    assert pending.json()["targetAccountId"] == account
    identity = pending.json()["id"]
    assert share(api, name, "elsewhere", account).json()["id"] == identity
    (target,) = api.get(f"/v0/images/sandbox/{name}/share").json()
    assert (target["status"], target["pendingShareId"]) == ("pending", identity)
    (incoming,) = other.get("/v0/pending-image-shares").json()
    assert (incoming["id"], incoming["sharedByEmail"]) == (identity, "admin@localhost")
    assert incoming["hasConflict"] is False
    assert other.get("/v0/pending-image-shares?direction=outgoing").json() == []
    outgoing = api.get("/v0/pending-image-shares?direction=outgoing").json()
    assert identity in [item["id"] for item in outgoing]
    assert api.get("/v0/pending-image-shares?direction=up").status_code == 400
    path = f"/v0/pending-image-shares/{identity}"
    assert api.post(f"{path}/accept").status_code == 404
    assert other.get(f"/v0/images/sandbox/{name}").status_code == 404
    accepted = other.post(f"{path}/accept")
    assert (accepted.status_code, accepted.json()["metadata"]["name"]) == (200, name)
    assert other.get(f"/v0/images/sandbox/{name}").status_code == 200
    assert other.post(f"{path}/accept").status_code == 404


def test_declining_and_forcing(api: httpx.Client, foreign: tuple[str, httpx.Client]) -> None:
    account, other = foreign
    name = unique()
    register(api, name)
    register(other, name, "mine")
    first = share(api, name, "elsewhere", account).json()["id"]
    declined = other.post(f"/v0/pending-image-shares/{first}/decline")
    assert (declined.status_code, declined.content) == (204, b"")
    second = share(api, name, "elsewhere", account).json()["id"]
    assert other.get("/v0/pending-image-shares").json()[0]["hasConflict"] is True
    assert other.post(f"/v0/pending-image-shares/{second}/accept").status_code == 409
    forced = other.post(f"/v0/pending-image-shares/{second}/accept?force=true")
    assert forced.status_code == 200
    path = f"/v0/images/sandbox/{name}"
    assert "sourceWorkspace" not in other.get(path).json()["metadata"]
    shared = other.get(f"{path}?sourceWorkspace=main").json()["metadata"]
    assert shared["sourceWorkspace"] == "main"


def test_expired_shares_are_gone(
    api: httpx.Client, foreign: tuple[str, httpx.Client], server: Server
) -> None:
    account, other = foreign
    name = unique()
    register(api, name)
    identity = share(api, name, "elsewhere", account).json()["id"]
    expire(server, identity)
    assert identity not in other.get("/v0/pending-image-shares").text
    late = other.post(f"/v0/pending-image-shares/{identity}/accept")
    assert (late.status_code, late.json()["code"]) == (410, 410)
    assert share(api, name, "elsewhere", account).json()["id"] != identity


def expire(server: Server, identity: str) -> None:
    """Let a pending share's time be over."""

    def write(conn: Any, _: Any) -> None:
        change = image_shares.update().where(image_shares.c.id == identity)
        conn.execute(change.values(expires_at="2026-01-01T00:00:00.000Z"))

    change_database(server, write)


def test_members_do_not_answer_shares(
    api: httpx.Client, foreign_member: tuple[str, httpx.Client]
) -> None:
    account, member = foreign_member
    name = unique()
    register(api, name)
    identity = share(api, name, "lowly", account).json()["id"]
    for action in ("accept", "decline"):
        assert member.post(f"/v0/pending-image-shares/{identity}/{action}").status_code == 403
