"""Users of a workspace and invitations to it."""

import pytest
from sqlalchemy import update

from serai.kernel.ids import token
from serai.store.tables.identity import invitations, users

from .conftest import World, done, refused, token_of


def test_from_an_invitation_to_a_member(world: World) -> None:
    api, name = world.new_workspace()
    email = f"{token(6)}@example.com"
    invitation = done(api.post("/v0/users", json={"email": f" {email.upper()} "}))
    assert (invitation["email"], invitation["role"]) == (email, "member")
    assert invitation["workspace"] == name
    assert invitation["expiresAt"] > invitation["createdAt"]
    pending = {"email": email, "role": "member", "accepted": False, "expired": False}
    assert pending | {"source": "invitation"} in done(api.get("/v0/users"))

    shown = done(world.anonymous("GET", "/v0/invitations", params=token_of(invitation)))
    assert shown["workspace"] == {"name": name, "displayName": name}
    assert shown["invitedBy"]["email"] == "admin@localhost"

    accepted = done(world.anonymous("POST", "/v0/invitations/accept", json=token_of(invitation)))
    assert accepted["workspace"]["name"] == name
    theirs = world.client(accepted["apiKey"])
    profile = done(theirs.get("/v0/profile"))
    assert profile["email"] == email
    assert profile["workspaces"] == [{"name": name, "role": "member"}]
    assert profile["accountAdmin"] is False
    [member] = [user for user in done(theirs.get("/v0/users")) if user["email"] == email]
    assert (member["sub"], member["accepted"]) == (profile["sub"], True)
    assert [one["name"] for one in done(theirs.get("/v0/workspaces"))] == [name]
    again = world.anonymous("POST", "/v0/invitations/accept", json=token_of(invitation))
    refused(again, 404, "INVITATION_NOT_FOUND")
    refused(api.post("/v0/users", json={"email": email}), 409, "USER_ALREADY_MEMBER")


@pytest.mark.parametrize("by", ["sub", "email"])
def test_roles_and_removal_are_felt_at_once(world: World, by: str) -> None:
    api, name = world.new_workspace()
    theirs, sub = world.new_user(api)
    email = done(theirs.get("/v0/profile"))["email"]
    path = f"/v0/users/{sub if by == 'sub' else email.upper()}"
    invite = {"email": f"{token(6)}@example.com"}
    refused(theirs.post("/v0/users", json=invite), 403, "ADMIN_REQUIRED")
    assert done(api.put(path, json={"role": "admin"}))["role"] == "admin"
    done(theirs.post("/v0/users", json=invite))
    assert done(api.put(path, json={"role": "member"}))["role"] == "member"
    refused(theirs.post("/v0/users", json=invite), 403, "ADMIN_REQUIRED")

    data = f"/{name}/models/none/v1/chat/completions"
    assert theirs.post(data, json={}).status_code == 404
    assert done(api.delete(path))["sub"] == sub
    assert theirs.get("/v0/agents").status_code == 401
    assert theirs.post(data, json={}).status_code == 401
    refused(api.delete(path), 404, "USER_NOT_FOUND")


def test_one_of_two_workspaces_is_taken_away(world: World) -> None:
    api, first = world.new_workspace()
    theirs, sub = world.new_user(api)
    email = done(theirs.get("/v0/profile"))["email"]
    other, second = world.new_workspace()
    invitation = done(other.post("/v0/users", json={"email": email}))
    link = token_of(invitation)

    [waiting] = done(theirs.get("/v0/profile/invitations"))
    assert waiting["workspace"]["name"] == second
    by_link = world.anonymous("POST", "/v0/invitations/accept", json=link)
    refused(by_link, 409, "USER_EXISTS")
    path = f"/v0/workspaces/{second}/join"
    refused(theirs.post(path), 403, "INVITATION_TOKEN_REQUIRED")
    refused(theirs.post(path, json={"token": "inv_wrong"}), 400, "INVALID_TOKEN")
    accepted = done(theirs.post(path, json=link))
    assert "apiKey" not in accepted
    assert done(theirs.get("/v0/profile/invitations")) == []
    assert {one["name"] for one in done(theirs.get("/v0/workspaces"))} == {first, second}

    done(api.delete(f"/v0/users/{sub}"))
    refused(theirs.get("/v0/agents"), 403, "WORKSPACE_FORBIDDEN")
    assert [one["name"] for one in done(theirs.get("/v0/workspaces"))] == [second]


def test_a_verified_address_needs_no_token(world: World) -> None:
    api, _ = world.new_workspace()
    theirs, sub = world.new_user(api)
    email = done(theirs.get("/v0/profile"))["email"]
    verified = update(users).where(users.c.id == sub).values(email_verified=True)
    world.write(lambda conn: conn.execute(verified))
    for verb in ("decline", "join"):
        other, name = world.new_workspace()
        done(other.post("/v0/users", json={"email": email, "role": "admin"}))
        done(theirs.post(f"/v0/workspaces/{name}/{verb}"))
        refused(theirs.post(f"/v0/workspaces/{name}/{verb}"), 404, "INVITATION_NOT_FOUND")
        roles = {one["name"]: one["role"] for one in done(theirs.get("/v0/profile"))["workspaces"]}
        assert roles.get(name) == ("admin" if verb == "join" else None)


def test_invitations_are_revoked_replaced_declined_and_expire(world: World) -> None:
    api, name = world.new_workspace()
    email = f"{token(6)}@example.com"

    def invite() -> dict[str, str]:
        return token_of(done(api.post("/v0/users", json={"email": email})))

    first = invite()
    assert done(api.put(f"/v0/users/{email}", json={"role": "admin"}))["role"] == "admin"
    assert done(api.delete(f"/v0/users/{email}"))["accepted"] is False
    second, third = invite(), invite()
    for old in (first, second):
        gone = world.anonymous("GET", "/v0/invitations", params=old)
        refused(gone, 404, "INVITATION_NOT_FOUND")
    done(world.anonymous("POST", "/v0/invitations/decline", json=third))

    late = invite()
    past = update(invitations).where(invitations.c.workspace == name)
    world.write(lambda conn: conn.execute(past.values(expires_at="2020-01-01T00:00:00.000Z")))
    answer = world.anonymous("POST", "/v0/invitations/accept", json=late)
    refused(answer, 409, "INVITATION_EXPIRED")
    [pending] = [user for user in done(api.get("/v0/users")) if user["email"] == email]
    assert pending["expired"] is True
    done(world.anonymous("POST", "/v0/invitations/accept", json=invite()))


def test_an_address_in_two_accounts_is_two_users(world: World) -> None:
    api, _ = world.new_workspace()
    theirs, _ = world.new_user(api)
    email = done(theirs.get("/v0/profile"))["email"]
    foreign, workspace = world.new_account()
    invitation = done(foreign.post("/v0/users", json={"email": email}))
    assert done(theirs.get("/v0/profile/invitations")) == []
    refused(
        theirs.post(f"/v0/workspaces/{workspace}/join", json=token_of(invitation)),
        404,
        "INVITATION_NOT_FOUND",
    )
    accepted = done(world.anonymous("POST", "/v0/invitations/accept", json=token_of(invitation)))
    second = done(world.client(accepted["apiKey"]).get("/v0/profile"))
    assert second["email"] == email
    assert second["sub"] != done(theirs.get("/v0/profile"))["sub"]


def test_admins_of_the_account_are_admins_everywhere(world: World) -> None:
    api, _ = world.new_workspace()
    [admin] = done(api.get("/v0/users"))
    for answer in (
        api.put(f"/v0/users/{admin['sub']}", json={"role": "member"}),
        api.delete("/v0/users/admin@localhost"),
    ):
        refused(answer, 409, "ACCOUNT_ADMIN")


def test_appointing_and_dismissing_admins_of_the_account(world: World) -> None:
    boss, _ = world.new_account()
    [first] = done(boss.get("/v0/account/admins"))
    path = f"/v0/account/admins/{first['sub']}"
    refused(boss.delete(path), 409, "LAST_ACCOUNT_ADMIN")
    theirs, sub = world.new_user(boss)
    refused(theirs.get("/v0/account/admins"), 403, "ADMIN_REQUIRED")
    refused(theirs.put(f"/v0/account/admins/{sub}"), 403, "ADMIN_REQUIRED")
    refused(boss.delete(f"/v0/account/admins/{sub}"), 404, "USER_NOT_FOUND")
    refused(boss.put("/v0/account/admins/admin@localhost"), 404, "USER_NOT_FOUND")
    done(boss.put(f"/v0/account/admins/{sub}"))
    done(theirs.post("/v0/workspaces", json={"name": f"theirs-{token(6)}"}))
    done(theirs.delete(path))
    refused(boss.get("/v0/account/admins"), 403, "ADMIN_REQUIRED")
    assert done(boss.get("/v0/profile"))["accountAdmin"] is False


@pytest.mark.parametrize("email", ["", "x", "a@", "@b", "a b@c", "a@b\u0000", "a@" + "b" * 300])
def test_addresses_that_are_none(world: World, email: str) -> None:
    api, _ = world.new_workspace()
    refused(api.post("/v0/users", json={"email": email}), 400, "INVALID_EMAIL")


def test_roles_that_are_none(world: World) -> None:
    api, _ = world.new_workspace()
    _, sub = world.new_user(api)
    sent = {"email": "new@example.com", "role": "owner"}
    assert "admin, member" in refused(api.post("/v0/users", json=sent), 400, "BAD_REQUEST")
    assert "role" in refused(api.put(f"/v0/users/{sub}", json={"role": ""}), 400, "BAD_REQUEST")
    refused(api.put("/v0/users/nobody", json={"role": "admin"}), 404, "USER_NOT_FOUND")


@pytest.mark.parametrize("path", ["/v0/invitations/accept", "/v0/invitations/decline"])
def test_secrets_that_are_none(world: World, path: str) -> None:
    for sent in ({}, {"token": ""}):
        refused(world.anonymous("POST", path, json=sent), 400, "BAD_REQUEST")
    refused(world.anonymous("POST", path, json={"token": "inv_x"}), 404, "INVITATION_NOT_FOUND")
