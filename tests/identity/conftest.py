"""One server for all tests here, and what a test needs to change behind its back."""

import base64
import json
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import httpx
import pytest
from sqlalchemy import Connection

from platform_server import KEY, Server
from serai.identity import accounts, grants
from serai.identity.access_tokens import AccessTokens
from serai.identity.grants import Grant
from serai.identity.signing_keys import KeyRing
from serai.kernel.clock import now
from serai.kernel.ids import token
from serai.store.database import Database
from serai.store.secrets import Vault

T = TypeVar("T")


class World:
    """A running server, its database as an operator could open it, and clients of it."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.admin = server.client_for(KEY)
        self.vault = Vault.open(server.data_dir / "master.key")
        self._db = Database(server.data_dir / "serai.db")
        self._db.open()
        self._clients: list[httpx.Client] = [self.admin]

    def write(self, fn: Callable[[Connection], T]) -> T:
        """Change the database from outside, as a maintenance command does."""
        return self._db.submit(fn).result()

    def client(self, key: str, workspace: str | None = None) -> httpx.Client:
        """A client with a key, and with the workspace header if a workspace is given."""
        headers = {} if workspace is None else {"X-Blaxel-Workspace": workspace}
        self._clients.append(self.server.client_for(key, **headers))
        return self._clients[-1]

    def new_account(self) -> tuple[httpx.Client, str]:
        """Another account of the installation: its admin's client, and its workspace."""
        workspace = f"other-{token(8)}"
        email = f"boss@{workspace}.example"
        key = self.write(
            lambda conn: accounts.open_account(conn, self.vault, "other", email, workspace)
        )
        return self.client(key), workspace

    def new_workspace(self, **settings: Any) -> tuple[httpx.Client, str]:
        """A workspace of the first account: its admin's client, and its name."""
        name = f"ws-{token(8)}"
        done(self.admin.post("/v0/workspaces", json={"name": name, **settings}))
        return self.client(KEY, name), name

    def new_user(self, api: httpx.Client, role: str = "member") -> tuple[httpx.Client, str]:
        """Somebody who accepts an invitation to the client's workspace: their client, and sub."""
        email = f"{token(8)}@example.com"
        invitation = done(api.post("/v0/users", json={"email": email, "role": role}))
        accepted = done(self.anonymous("POST", "/v0/invitations/accept", json=token_of(invitation)))
        theirs = self.client(accepted["apiKey"], invitation["workspace"])
        return theirs, done(theirs.get("/v0/profile"))["sub"]

    def grant(self, client: httpx.Client, scope: str = "admin", **fields: Any) -> Grant:
        """A grant by which an application acts for whoever the client's credential belongs to."""
        profile = done(client.get("/v0/profile"))
        holder = "user_id" if profile["sub_type"] == "user" else "service_client_id"
        given = {"client_id": "blaxel", "workspace": "main", holder: profile["sub"]} | fields
        return self.write(lambda conn: grants.create(conn, now(), scope=scope, **given))

    def claims(self, grant: Grant, **changed: Any) -> dict[str, Any]:
        """What an access token of a grant says, with changes."""
        tokens = AccessTokens(self.ring(), f"{self.server.url}/v0", self.server.url)
        issued = tokens.issue(grant, grant.scope, now()).split(".")[1]
        return json.loads(base64.urlsafe_b64decode(issued + "==")) | changed

    def sign(self, claims: dict[str, Any], kind: str = "at+jwt") -> str:
        """Any claims, signed as the server signs."""
        return AccessTokens(self.ring(), "", "").sign(claims, kind, now())

    def ring(self) -> KeyRing:
        """The server's signing keys."""
        ring = KeyRing(self._db, self.vault)
        ring.reload()
        return ring

    def access_token(self, client: httpx.Client, scope: str = "admin", **fields: Any) -> str:
        """An access token for whoever the client's credential belongs to."""
        return self.sign(self.claims(self.grant(client, scope, **fields)))

    def anonymous(self, method: str, path: str, **more: Any) -> httpx.Response:
        """A request without a credential."""
        return httpx.request(method, self.server.url + path, trust_env=False, **more)

    def close(self) -> None:
        """End what was opened."""
        for client in self._clients:
            client.close()
        self._db.close()


def done(answer: httpx.Response) -> Any:
    """The body of a successful answer."""
    assert answer.status_code == 200, f"{answer.status_code} {answer.text}"
    return answer.json()


def refused(answer: httpx.Response, status: int, code: str) -> str:
    """The message of an error answer with that status and code."""
    body = answer.json()
    assert (answer.status_code, body["code"], body["error"]) == (status, status, code), body
    return str(body["message"])


def token_of(invitation: dict[str, Any]) -> dict[str, str]:
    """The body that presents an invitation's secret."""
    return {"token": httpx.URL(invitation["link"]).params["token"]}


@pytest.fixture(scope="package")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    server = Server(tmp_path_factory.mktemp("identity") / "data").start()
    world = World(server)
    yield world
    world.close()
    server.stop()
