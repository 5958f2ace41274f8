"""Whoever loses access loses it at once, by whatever credential they came."""

from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import Connection, insert, select

from platform_server import KEY
from serai.identity import grants, sign_ins
from serai.kernel.clock import now, rfc3339
from serai.kernel.ids import token
from serai.store.tables.identity import users
from serai.store.tables.oauth import device_codes, oauth_codes, oauth_grants
from serai.store.tables.sign_in import sign_ins as sessions

from .conftest import World, done


class Somebody:
    """A member with a key, a browser, and tokens for everything and for one workspace."""

    def __init__(self, world: World, api: httpx.Client, workspace: str) -> None:
        self.world, self.workspace = world, workspace
        self.by_key, self.id = world.new_user(api)
        self.by_key.headers.pop("X-Blaxel-Workspace")
        self.session = world.write(
            lambda conn: sign_ins.begin(
                conn, world.vault, self.id, "password", now(), user_agent="", address=""
            )[0]
        )
        wide = world.grant(self.by_key, workspace=workspace, sign_in_id=self.session)
        bound = world.grant(self.by_key, workspace=workspace, bound=True)
        self.grants = [wide.id, bound.id]
        self.wide, self.bound = (world.client(world.sign(world.claims(g))) for g in (wide, bound))
        self._ask()
        for client in (self.by_key, self.wide, self.bound):
            assert self.status(client) == 200

    def _ask(self) -> None:
        """A device and an application that have been let in and have not come yet."""
        later = rfc3339(now() + timedelta(minutes=5))
        common: dict[str, Any] = {"client_id": "blaxel", "scope": "", "user_id": self.id}
        common |= {"workspace": self.workspace, "created_at": rfc3339(now()), "expires_at": later}
        device = common | {"digest": token(16).encode(), "user_code": token(8)}
        code = common | {"digest": token(16).encode(), "redirect_uri": "http://127.0.0.1/"}

        def write(conn: Connection) -> None:
            conn.execute(insert(device_codes).values(device | {"status": "approved"}))
            conn.execute(insert(oauth_codes).values(code | {"bound": True, "auth_time": 1}))

        self.world.write(write)

    def status(self, client: httpx.Client) -> int:
        """How a request about the workspace is answered."""
        headers = {"X-Blaxel-Workspace": self.workspace}
        return client.get("/v0/agents", headers=headers).status_code

    def left(self) -> tuple[int, int, int, int]:
        """How many sessions, living grants, waiting codes and users are left."""

        def read(conn: Connection) -> tuple[int, int, int, int]:
            g = oauth_grants.c
            alive = (g.id.in_(self.grants), g.revoked_at.is_(None))
            queries = [
                select(sessions.c.id).where(sessions.c.user_id == self.id),
                select(g.id).where(*alive),
                select(oauth_codes.c.digest)
                .where(oauth_codes.c.user_id == self.id)
                .union_all(select(device_codes.c.digest).where(device_codes.c.user_id == self.id)),
                select(users.c.id).where(users.c.id == self.id),
            ]
            one, two, three, four = (len(list(conn.execute(query))) for query in queries)
            return one, two, three, four

        return self.world.write(read)


@pytest.fixture
def somebody(world: World) -> Somebody:
    api, workspace = world.new_workspace()
    return Somebody(world, api, workspace)


def admin(world: World, workspace: str) -> httpx.Client:
    return world.client(KEY, workspace)


def test_the_removed_are_out_at_once(world: World, somebody: Somebody) -> None:
    done(admin(world, somebody.workspace).delete(f"/v0/users/{somebody.id}"))
    for client in (somebody.by_key, somebody.wide, somebody.bound):
        assert somebody.status(client) == 401
    assert somebody.left() == (0, 0, 0, 0)


def test_who_leaves_is_out_too(world: World, somebody: Somebody) -> None:
    done(somebody.wide.delete(f"/v0/workspaces/{somebody.workspace}/leave"))
    for client in (somebody.by_key, somebody.wide, somebody.bound):
        assert somebody.status(client) == 401
    assert somebody.left() == (0, 0, 0, 0)


def test_who_loses_one_workspace_keeps_the_others(world: World, somebody: Somebody) -> None:
    other, name = world.new_workspace()
    email = done(somebody.by_key.get("/v0/profile"))["email"]
    link = done(other.post("/v0/users", json={"email": email}))["link"]
    body = {"token": link.partition("token=")[2]}
    done(somebody.by_key.post(f"/v0/workspaces/{name}/join", json=body))
    assert somebody.wide.get("/v0/agents", headers={"X-Blaxel-Workspace": name}).status_code == 200
    api = admin(world, somebody.workspace)
    done(api.delete(f"/v0/users/{somebody.id}"))
    assert [somebody.status(one) for one in (somebody.by_key, somebody.wide)] == [403, 403]
    assert somebody.status(somebody.bound) == 401
    assert somebody.wide.get("/v0/agents", headers={"X-Blaxel-Workspace": name}).status_code == 200
    assert somebody.left() == (1, 1, 0, 1)
    link = done(api.post("/v0/users", json={"email": email}))["link"]
    body = {"token": link.partition("token=")[2]}
    done(somebody.by_key.post(f"/v0/workspaces/{somebody.workspace}/join", json=body))
    assert somebody.status(somebody.by_key) == 200
    assert somebody.status(somebody.bound) == 401, "what was revoked stays revoked"


def test_a_role_changes_at_once(world: World, somebody: Somebody) -> None:
    policy = {
        "metadata": {"name": "p"},
        "spec": {"type": "location", "locations": [{"type": "country", "name": "us"}]},
    }
    api, headers = admin(world, somebody.workspace), {"X-Blaxel-Workspace": somebody.workspace}
    one = f"/v0/users/{somebody.id}"
    for client in (somebody.by_key, somebody.wide, somebody.bound):
        for role, status in (("member", 403), ("admin", 200), ("member", 403)):
            done(api.put(one, json={"role": role}))
            answer = client.post("/v0/policies", json=policy, headers=headers)
            assert answer.status_code == status, answer.text
        done(api.delete("/v0/policies/p"))


def test_a_dismissed_admin_keeps_what_they_are_a_member_of(world: World) -> None:
    api, workspace = world.new_workspace()
    person = Somebody(world, api, workspace)
    done(world.admin.put(f"/v0/account/admins/{person.id}"))
    _, name = world.new_workspace()
    bound = world.grant(person.by_key, workspace=name, bound=True)
    elsewhere = world.client(world.sign(world.claims(bound)))
    assert elsewhere.get("/v0/agents").status_code == 200
    done(world.admin.delete(f"/v0/account/admins/{person.id}"))
    assert elsewhere.get("/v0/agents").status_code == 401
    assert [person.status(one) for one in (person.by_key, person.wide, person.bound)] == [200] * 3


def test_a_service_account_takes_its_tokens_with_it(world: World) -> None:
    api, workspace = world.new_workspace()
    machine = done(api.post("/v0/service_accounts", json={"name": "CI"}))
    grant = world.write(
        lambda conn: grants.create(
            conn,
            now(),
            client_id=machine["client_id"],
            service_client_id=machine["client_id"],
            workspace=workspace,
            scope="admin",
        )
    )
    client = world.client(world.sign(world.claims(grant)))
    assert client.get("/v0/agents").status_code == 200
    done(api.delete(f"/v0/service_accounts/{machine['client_id']}"))
    assert client.get("/v0/agents").status_code == 401
    assert world.write(lambda conn: grants.find(conn, grant.id, now())) is None


def test_a_deleted_workspace_ends_what_was_for_it_alone(world: World) -> None:
    api, workspace = world.new_workspace()
    bound = world.grant(api, workspace=workspace, bound=True)
    done(api.delete(f"/v0/workspaces/{workspace}"))
    assert world.write(lambda conn: grants.find(conn, bound.id, now())) is None
