"""Workspaces: their names, settings, contents and end."""

from pathlib import Path
from typing import Any

import pytest

from platform_server import Server
from serai.gateway.targets import RESERVED
from serai.kernel.ids import token

from .conftest import World, done, refused
from .routes import templates


def test_a_workspace_from_its_making_to_its_end(world: World) -> None:
    name = f"made-{token(6)}"
    sent = {
        "name": name,
        "displayName": "Made here",
        "labels": {"team": "a"},
        "region": "somewhere-1",
        "groupMappings": [{"groupName": "Engineering", "role": "admin"}],
        "runtime": {"generation": "mine", "sandbox": {"disableProcessLogging": True}},
        "id": "mine",
        "accountId": "mine",
        "status": "error",
        "resourceCounts": {"agents": 5},
        "createdBy": "me",
    }
    made = done(world.admin.post("/v0/workspaces", json=sent))
    account = done(world.admin.get("/v0/accounts"))[0]["id"]
    assert made["id"].startswith("ws-")
    assert (made["accountId"], made["status"]) == (account, "ready")
    assert made["createdBy"] == made["updatedBy"] == "admin@localhost"
    assert {key: made[key] for key in ("displayName", "labels", "region", "groupMappings")} == {
        key: sent[key] for key in ("displayName", "labels", "region", "groupMappings")
    }
    assert made["runtime"] == {"generation": "mk3", "sandbox": {"disableProcessLogging": True}}
    assert "resourceCounts" not in made

    path = f"/v0/workspaces/{name}"
    assert done(world.admin.get(path)) == made
    assert made in done(world.admin.get("/v0/workspaces"))
    changed = done(world.admin.put(path, json={"displayName": "Later"}))
    assert changed["displayName"] == "Later"
    assert "labels" not in changed
    assert (changed["id"], changed["createdAt"]) == (made["id"], made["createdAt"])
    assert done(world.admin.delete(path)) == changed
    refused(world.admin.get(path), 404, "WORKSPACE_NOT_FOUND")


def test_no_operation_on_workspaces_needs_the_header(world: World) -> None:
    _, name = world.new_workspace()
    assert len(done(world.admin.get("/v0/workspaces"))) > 1
    assert done(world.admin.get(f"/v0/workspaces/{name}"))["id"]
    assert done(world.admin.get("/v0/profile"))["accountAdmin"] is True
    refused(world.admin.get("/v0/users"), 400, "WORKSPACE_REQUIRED")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("main", "taken"),
        ("blaxel", "forbidden_blaxel"),
        ("my-blaxel-team", "forbidden_blaxel"),
        ("v0", "forbidden_v_prefix"),
        ("v2-things", "forbidden_v_prefix"),
        ("api", "forbidden_reserved"),
        ("run", "forbidden_reserved"),
        ("admin", "forbidden_reserved"),
        ("availability", "forbidden_reserved"),
    ],
)
def test_names_nobody_can_have(world: World, name: str, reason: str) -> None:
    ask = "/v0/workspaces/availability"
    assert done(world.admin.post(ask, json={"name": name})) is False
    why = done(world.admin.post(ask, params={"withReason": "true"}, json={"name": name}))
    assert (why["available"], why["reason"]) == (False, reason)
    assert name in why["message"]
    made = world.admin.post("/v0/workspaces", json={"name": name})
    if reason == "taken":
        refused(made, 409, "WORKSPACE_ALREADY_EXISTS")
    else:
        refused(made, 400, "WORKSPACE_NAME_FORBIDDEN")
        assert made.json()["details"] == {"reason": reason}


def test_names_that_can_be_had(world: World) -> None:
    for name in (f"free-{token(6)}", "valley", "vx"):
        answer = world.admin.post("/v0/workspaces/availability", json={"name": name})
        assert done(answer) is True
        answer = world.admin.post("/v0/workspaces/availability?withReason=1", json={"name": name})
        assert done(answer) == {"available": True}


@pytest.mark.parametrize(
    "body", [{}, {"name": ""}, {"name": "A b"}, {"name": "x" * 50}, {"name": 5}]
)
def test_names_that_are_none(world: World, body: dict[str, Any]) -> None:
    for path in ("/v0/workspaces", "/v0/workspaces/availability"):
        answer = world.admin.post(path, json=body)
        assert answer.status_code == 400
        assert "name" in answer.json()["message"]


def test_no_workspace_can_hide_behind_a_route(world: World) -> None:
    segments = {template.split("/")[1] for _, template in templates()}
    segments |= {segment.decode() for segment in RESERVED}
    well_formed = {segment for segment in segments if segment.isalnum()}
    assert {"v0", "health", "docs", "run"} <= well_formed
    for segment in well_formed:
        ask = {"name": segment}
        assert done(world.admin.post("/v0/workspaces/availability", json=ask)) is False


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"displayName": "x" * 64}, "displayName"),
        ({"displayName": "a\nb"}, "displayName"),
        ({"labels": {"": "x"}}, "labels"),
        ({"groupMappings": [{"groupName": "x"}]}, "groupMappings[0]"),
        ({"groupMappings": [{"groupName": "x", "role": "owner"}]}, "groupMappings[0].role"),
        ({"region": "x" * 65}, "region"),
        ({"name": "another"}, "name"),
    ],
)
def test_settings_that_break_a_rule(world: World, body: dict[str, Any], named: str) -> None:
    _, name = world.new_workspace()
    message = world.admin.put(f"/v0/workspaces/{name}", json=body)
    assert message.status_code == 400
    assert named in message.json()["message"]


def test_only_an_empty_workspace_can_be_deleted(world: World) -> None:
    api, name = world.new_workspace()
    done(api.post("/v0/agents", json={"metadata": {"name": "one"}, "spec": {}}))
    machine = done(api.post("/v0/service_accounts", json={"name": "ci"}))
    path = f"/v0/workspaces/{name}"
    counts = done(api.get(path, params={"countResources": "true"}))["resourceCounts"]
    assert (counts["agents"], counts["serviceaccounts"], counts["sandboxes"]) == (1, 1, 0)
    assert {"volumes", "drives", "images", "customdomains", "previews"} <= counts.keys()

    answer = api.delete(path)
    assert "1 agents" in refused(answer, 409, "WORKSPACE_NOT_EMPTY")
    assert answer.json()["details"] == {"resourceCounts": {"agents": 1, "serviceaccounts": 1}}
    done(api.get("/v0/agents/one"))

    done(api.delete("/v0/agents/one"))
    done(api.delete(f"/v0/service_accounts/{machine['client_id']}"))
    theirs, _ = world.new_user(api)
    done(api.post("/v0/users", json={"email": "waits@example.com"}))
    done(api.delete(path))
    assert theirs.get("/v0/profile").status_code == 401
    refused(api.get("/v0/agents"), 403, "WORKSPACE_FORBIDDEN")
    done(world.admin.post("/v0/workspaces", json={"name": name}))
    assert [user["email"] for user in done(api.get("/v0/users"))] == ["admin@localhost"]


def test_the_name_of_a_deleted_workspace_stays_with_its_account(world: World) -> None:
    _, name = world.new_workspace()
    stranger, _ = world.new_account()
    done(world.admin.delete(f"/v0/workspaces/{name}"))
    ask = ("/v0/workspaces/availability", {"name": name})
    assert done(stranger.post(ask[0], json=ask[1])) is False
    made = stranger.post("/v0/workspaces", json=ask[1])
    refused(made, 409, "WORKSPACE_ALREADY_EXISTS")
    assert done(world.admin.post(ask[0], json=ask[1])) is True
    done(world.admin.post("/v0/workspaces", json=ask[1]))


def test_leaving(world: World) -> None:
    api, name = world.new_workspace()
    theirs, sub = world.new_user(api)
    path = f"/v0/workspaces/{name}/leave"
    refused(world.admin.delete(path), 409, "ACCOUNT_ADMIN")
    assert done(theirs.delete(path))["name"] == name
    assert theirs.get("/v0/agents").status_code == 401
    refused(api.delete(f"/v0/users/{sub}"), 404, "USER_NOT_FOUND")
    refused(world.admin.delete("/v0/workspaces/nowhere/leave"), 404, "WORKSPACE_NOT_FOUND")


def test_features(world: World) -> None:
    api, _ = world.new_workspace()
    features = done(api.get("/v0/features"))["features"]
    assert features
    assert all(value is True for value in features.values())
    key = next(iter(features))
    account = done(api.get("/v0/accounts"))[0]["id"]
    for params in ({}, {"account": account}):
        state = done(api.get(f"/v0/features/{key}", params=params))
        assert (state["featureKey"], state["enabled"]) == (key, True)
    refused(api.get("/v0/features/teleport"), 404, "FEATURE_NOT_FOUND")
    refused(api.get(f"/v0/features/{key}", params={"account": "acc-x"}), 403, "FORBIDDEN")


def test_a_first_workspace_that_no_path_could_reach(tmp_path: Path) -> None:
    server = Server(tmp_path / "data")
    done = server.run("up", "--workspace", "docs")
    assert done.returncode == 1
    assert "'docs' is a path" in done.stderr
