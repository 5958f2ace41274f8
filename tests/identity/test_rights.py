"""What members may not do, by the table and through the server."""

import pytest

from serai.identity.rights import need_of

from .conftest import World, done, refused
from .routes import templates

POLICY = {
    "metadata": {"name": "here"},
    "spec": {"type": "location", "locations": [{"type": "country", "name": "us"}]},
}
CONNECTION = {"metadata": {"name": "c"}, "spec": {"integration": "openai"}}


def test_members_use_and_admins_decide(world: World) -> None:
    api, name = world.new_workspace()
    theirs, sub = world.new_user(api)
    done(api.post("/v0/policies", json=POLICY))
    for path in ("policies", "policies/here", "users", "service_accounts", "features"):
        done(theirs.get(f"/v0/{path}"))
    done(theirs.get(f"/v0/workspaces/{name}"))
    agent = {"metadata": {"name": "a"}, "spec": {}}
    done(theirs.post("/v0/agents", json=agent))
    done(theirs.put("/v0/agents/a", json=agent))
    done(theirs.delete("/v0/agents/a"))
    for answer in (
        theirs.post("/v0/policies", json=POLICY),
        theirs.put("/v0/policies/here", json=POLICY),
        theirs.delete("/v0/policies/here"),
        theirs.post("/v0/integrations/connections", json=CONNECTION),
        theirs.post("/v0/users", json={"email": "a@example.com"}),
        theirs.put(f"/v0/users/{sub}", json={"role": "admin"}),
        theirs.delete(f"/v0/users/{sub}"),
        theirs.post("/v0/service_accounts", json={"name": "x"}),
        theirs.put(f"/v0/workspaces/{name}", json={}),
        theirs.delete(f"/v0/workspaces/{name}"),
        theirs.post("/v0/workspaces", json={"name": "mine"}),
    ):
        refused(answer, 403, "ADMIN_REQUIRED")


@pytest.mark.parametrize(
    "path",
    ["//v0/policies", "/v0//policies", "/v0/policies/", "/api/policies", "/api/v0/policies",
     "/v0/policies?workspace=main", "/%76%30/policies", "//v0//policies//"],
)  # fmt: skip
def test_no_spelling_gets_around(world: World, path: str) -> None:
    api, _ = world.new_workspace()
    theirs, _ = world.new_user(api)
    assert theirs.post(path, json=POLICY).status_code in {403, 404}
    assert world.anonymous("POST", path, json=POLICY).status_code in {401, 404}
    assert done(api.get("/v0/policies", headers={"Blaxel-Version": "2026-04-16"})) == []


def test_every_change_of_these_needs_an_admin() -> None:
    guarded = ("/v0/policies", "/v0/integrations", "/v0/users", "/v0/service_accounts")
    changes = [(m, t) for m, t in templates() if m != "GET" and t.startswith(guarded)]
    assert len(changes) >= 14
    for method, template in changes:
        assert need_of(method, template) == "workspace admin", f"{method} {template}"
