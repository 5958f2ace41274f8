"""Service accounts, and API keys of machines and people."""

from pathlib import Path

import pytest
from sqlalchemy import select, update

from serai.identity.access_tokens import AccessTokens
from serai.identity.accounts import create_account, create_user, store_key
from serai.identity.authenticator import CredentialAuthenticator
from serai.identity.keys import looks_like_key, new_key
from serai.identity.signing_keys import KeyRing
from serai.kernel.errors import AuthenticationFailed
from serai.store.database import Database
from serai.store.secrets import Vault
from serai.store.tables.identity import api_keys

from .conftest import World, done, refused


def test_a_service_account_from_its_making_to_its_end(world: World) -> None:
    api, name = world.new_workspace()
    made = done(api.post("/v0/service_accounts", json={"name": "CI", "description": "builds"}))
    secret = made.pop("client_secret")
    assert secret.startswith("bls_")
    assert (made["name"], made["description"], made["role"]) == ("CI", "builds", "member")
    assert made["created_at"] == made["updated_at"]
    assert done(api.get("/v0/service_accounts")) == [made]
    path = f"/v0/service_accounts/{made['client_id']}"

    key = done(api.post(f"{path}/api_keys", json={"name": "laptop", "expires_in": "30d"}))
    assert looks_like_key(key["apiKey"])
    assert (key["sub"], key["sub_type"]) == (made["client_id"], "service_account")
    assert key["expires_in"] == "30d"
    [listed] = done(api.get(f"{path}/api_keys"))
    assert listed["apiKey"] != key["apiKey"]
    assert key["apiKey"].startswith(listed["apiKey"].rstrip("…"))

    machine = world.client(key["apiKey"])
    assert done(machine.get("/v0/profile"))["workspaces"] == [{"name": name, "role": "member"}]
    agent = {"metadata": {"name": "built"}, "spec": {}}
    assert done(machine.post("/v0/agents", json=agent))["metadata"]["createdBy"] == "CI"
    refused(machine.post("/v0/service_accounts", json={"name": "x"}), 403, "ADMIN_REQUIRED")
    refused(machine.post("/v0/profile/api_keys", json={}), 403, "FORBIDDEN")
    refused(machine.delete(f"/v0/workspaces/{name}/leave"), 403, "FORBIDDEN")

    changed = done(api.put(path, json={"name": "CI 2", "role": "admin"}))
    assert (changed["name"], changed["description"]) == ("CI 2", "builds")
    assert "client_secret" not in changed
    done(machine.post("/v0/service_accounts", json={"name": "made-by-machine"}))

    done(api.delete(f"{path}/api_keys/{key['id']}"))
    assert machine.get("/v0/agents").status_code == 401
    assert done(api.get(f"{path}/api_keys")) == []
    last = done(api.post(f"{path}/api_keys", json={}))
    machine = world.client(last["apiKey"])
    done(machine.get("/v0/agents"))
    assert done(api.delete(path))["client_id"] == made["client_id"]
    assert machine.get("/v0/agents").status_code == 401
    refused(api.get(f"{path}/api_keys"), 404, "SERVICE_ACCOUNT_NOT_FOUND")


@pytest.mark.parametrize(
    "body",
    [{}, {"name": ""}, {"name": "a@b"}, {"name": "x" * 64}, {"name": "x", "role": "owner"}],
)
def test_service_accounts_that_break_a_rule(world: World, body: dict[str, str]) -> None:
    api, _ = world.new_workspace()
    answer = api.post("/v0/service_accounts", json=body)
    assert answer.status_code == 400
    assert ("role" if "role" in body else "name") in answer.json()["message"]


def test_keys_of_ones_own(world: World) -> None:
    api, _ = world.new_workspace()
    theirs, sub = world.new_user(api)
    made = done(theirs.post("/v0/profile/api_keys", json={"name": "second", "expires_in": "1h"}))
    assert (made["sub"], made["sub_type"]) == (sub, "user")
    assert made["expiresAt"] > made["createdAt"]
    names = {key["name"]: key for key in done(theirs.get("/v0/profile/api_keys"))}
    assert names.keys() == {"first key", "second"}
    assert all(len(key["apiKey"]) < 12 for key in names.values())
    second = world.client(made["apiKey"])
    assert done(second.get("/v0/profile"))["sub"] == sub
    done(theirs.delete(f"/v0/profile/api_keys/{made['id']}"))
    assert second.get("/v0/profile").status_code == 401
    path = f"/v0/profile/api_keys/{made['id']}"
    refused(theirs.delete(path), 404, "API_KEY_NOT_FOUND")
    other = done(api.post("/v0/profile/api_keys", json={}))
    refused(theirs.delete(f"/v0/profile/api_keys/{other['id']}"), 404, "API_KEY_NOT_FOUND")


@pytest.mark.parametrize("expires_in", ["0s", "soon", "-1d", "1y", "99999d", "1.5h"])
def test_lifetimes_that_are_none(world: World, expires_in: str) -> None:
    answer = world.admin.post("/v0/profile/api_keys", json={"expires_in": expires_in})
    assert answer.status_code == 400
    assert "expires_in" in answer.json()["message"]


def test_an_expired_key(world: World) -> None:
    made = done(world.admin.post("/v0/profile/api_keys", json={"expires_in": "1h"}))
    past = update(api_keys).where(api_keys.c.id == made["id"])
    world.write(lambda conn: conn.execute(past.values(expires_at="2020-01-01T00:00:00.000Z")))
    assert world.client(made["apiKey"]).get("/v0/profile").status_code == 401


async def test_an_expiring_key_is_not_believed_longer(tmp_path: Path) -> None:
    db, vault = Database(tmp_path / "serai.db"), Vault.open(tmp_path / "master.key")
    db.open()
    key = new_key()

    def write(conn: object) -> str:
        user_id = create_user(conn, create_account(conn, "a"), "a@b", account_admin=True)
        return store_key(conn, vault, user_id, "k", key)

    key_id = await db.write(write)
    tokens = AccessTokens(KeyRing(db, vault), "issuer", "audience")
    authenticator = CredentialAuthenticator(db, vault, tokens)
    await authenticator.verify(key)
    assert authenticator.cached(key) is not None
    await authenticator.write_notes()
    used = select(api_keys.c.last_used_at).where(api_keys.c.id == key_id)
    assert await db.read(lambda conn: conn.execute(used).scalar()) is not None

    authenticator.forget()
    assert authenticator.cached(key) is None
    past = update(api_keys).values(expires_at="2020-01-01T00:00:00.000Z")
    await db.write(lambda conn: conn.execute(past))
    with pytest.raises(AuthenticationFailed):
        await authenticator.verify(key)
    db.close()


def test_no_secret_is_stored(world: World) -> None:
    api, _ = world.new_workspace()
    machine = done(api.post("/v0/service_accounts", json={"name": "CI"}))
    key = done(api.post("/v0/profile/api_keys", json={}))
    invitation = done(api.post("/v0/users", json={"email": "secret@example.com"}))
    token = invitation["link"].partition("token=")[2]
    done(world.anonymous("GET", "/v0/invitations", params={"token": token}))
    stored = b"".join(file.read_bytes() for file in world.server.data_dir.glob("serai.db*"))
    logged = world.server.log.read_bytes()
    for secret in (machine["client_secret"], key["apiKey"], token):
        assert secret.encode() not in stored
    for secret in (machine["client_secret"], key["apiKey"]):  # the link is logged without mail
        assert secret.encode() not in logged
