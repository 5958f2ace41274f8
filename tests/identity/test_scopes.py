"""What a credential with scopes may do, and keys that have some."""

import httpx
import pytest

from .conftest import World, done, refused


def key_with(client: httpx.Client, *scopes: str) -> str:
    return str(done(client.post("/v0/profile/api_keys", json={"scopes": scopes}))["apiKey"])


def test_a_key_does_only_what_it_is_for(world: World) -> None:
    api, workspace = world.new_workspace()
    reader = world.client(key_with(api, "agents:list", "agents:get"), workspace)
    done(api.post("/v0/agents", json={"metadata": {"name": "a"}, "spec": {}}))
    done(reader.get("/v0/agents"))
    done(reader.get("/v0/agents/a"))
    done(reader.get("/v0/profile"))
    for answer in (
        reader.delete("/v0/agents/a"),
        reader.post("/v0/agents", json={"metadata": {"name": "b"}, "spec": {}}),
        reader.get("/v0/models"),
        reader.get("/v0/vpcs"),
        reader.post("/v0/profile/api_keys", json={}),
    ):
        message = refused(answer, 403, "INSUFFICIENT_SCOPE")
        assert "lacks the scope" in message
        assert 'error="insufficient_scope", scope="' in answer.headers["WWW-Authenticate"]
    done(api.get("/v0/agents/a"))


def test_all_scopes_of_an_operation_are_needed(world: World) -> None:
    api, workspace = world.new_workspace()
    policy = {"metadata": {"name": "p"}, "spec": {"type": "flavor", "flavors": [
        {"name": "x86", "type": "cpu"}]}}  # fmt: skip
    done(api.post("/v0/policies", json=policy))
    some = world.client(key_with(api, "policies:get", "agents:list"), workspace)
    message = refused(some.get("/v0/policies/p/usages"), 403, "INSUFFICIENT_SCOPE")
    assert "models:list" in message
    assert "policies:get" not in message


def test_scopes_do_not_lift_a_role(world: World) -> None:
    api, workspace = world.new_workspace()
    member, _ = world.new_user(api)
    theirs = world.client(key_with(member, "admin"), workspace)
    policy = {"metadata": {"name": "p"}, "spec": {"type": "flavor", "flavors": []}}
    refused(theirs.post("/v0/policies", json=policy), 403, "ADMIN_REQUIRED")


def test_a_key_gives_no_more_than_it_has(world: World) -> None:
    api, _ = world.new_workspace()
    maker = world.client(key_with(api, "apiKey:write", "apiKey:list", "agents:list"))
    made = done(maker.post("/v0/profile/api_keys", json={}))
    assert made["scopes"] == ["agents:list", "apiKey:list", "apiKey:write"]
    wider = maker.post("/v0/profile/api_keys", json={"scopes": ["agents:list", "admin"]})
    refused(wider, 403, "INSUFFICIENT_SCOPE")
    narrow = done(maker.post("/v0/profile/api_keys", json={"scopes": ["agents:list"]}))
    shown = {key["id"]: key for key in done(maker.get("/v0/profile/api_keys"))}
    assert shown[narrow["id"]]["scopes"] == ["agents:list"]


@pytest.mark.parametrize(
    ("scopes", "code", "said"),
    [
        ([], "BAD_REQUEST", "scopes is empty"),
        (["agents:explode"], "UNKNOWN_SCOPE", "'agents:explode'"),
        (["openid"], "UNKNOWN_SCOPE", "'openid'"),
        ("agents:list", "VALIDATION_ERROR", "scopes"),
        ([7], "VALIDATION_ERROR", "scopes[0]"),
    ],
)
def test_bad_scopes_are_named(world: World, scopes: object, code: str, said: str) -> None:
    answer = world.admin.post("/v0/profile/api_keys", json={"scopes": scopes})
    assert said in refused(answer, 400, code)


def test_the_data_plane_asks_too(world: World) -> None:
    api, workspace = world.new_workspace()
    done(api.post("/v0/models", json={"metadata": {"name": "m"}, "spec": {}}))
    for kind in ("agents", "functions", "jobs", "models", "sandboxes"):
        wrong = world.client(key_with(api, "agents:list"))
        answer = wrong.get(f"/{workspace}/{kind}/m/v1/models")
        error = answer.json()["error"]
        assert (answer.status_code, error["code"]) == (403, "INSUFFICIENT_SCOPE"), answer.text
        assert error["origin"] == "platform"
        scope = answer.headers["WWW-Authenticate"].rpartition('scope="')[2].rstrip('"')
        right = world.client(key_with(api, scope))
        assert right.get(f"/{workspace}/{kind}/m/v1/models").status_code != 403
