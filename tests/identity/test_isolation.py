"""No credential finds anything of a workspace it has no access to: every route is walked.

The walk knows no operation by name. It takes every route the application has, fills its
parameters once with what exists in the victim's workspace and once with names that exist nowhere,
and compares the two answers byte by byte.
"""

import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from serai.kernel.ids import token

from .conftest import World, done
from .routes import templates

MARK = "only-for-the-victim"
TIMES = re.compile(r"\d{4}-\d\d-\d\dT[0-9:.]+Z")
PARAMETER = re.compile(r"\{([^}]+)\}")
SPECS: tuple[dict[str, Any], ...] = (
    {},
    {"type": "location", "locations": [{"type": "country", "name": "us"}]},
    {"integration": "openai"},
    {"size": 1024},
    {"runtime": {"image": "blaxel/base-image:latest"}},
)
ASKS_FOR_A_NAME = {"/v0/workspaces", "/v0/workspaces/availability"}
"""Names of workspaces are unique in an installation, so these two must tell which are taken."""

ROUTES = [(method, path) for method, path in templates() if path.startswith("/v0/")]


class Victim:
    """A workspace with something of every kind in it, and how its things are called."""

    def __init__(self, world: World) -> None:
        self.api, self.workspace = world.new_workspace(labels={"mark": MARK})
        self.name = f"theirs-{token(6)}"
        self._seed()
        member, self.sub = world.new_user(self.api)
        self.email = done(member.get("/v0/profile"))["email"]
        machine = {"name": "machine", "description": MARK}
        self.client_id = done(self.api.post("/v0/service_accounts", json=machine))["client_id"]
        keys = f"/v0/service_accounts/{self.client_id}/api_keys"
        self.key_id = done(self.api.post(keys, json={"name": MARK}))["id"]
        self.account = done(self.api.get("/v0/accounts"))[0]["id"]

    def _seed(self) -> None:
        metadata = {"name": self.name, "labels": {"mark": MARK}, "externalId": self.name}
        self.kinds = set()
        for path in sorted(path for method, path in ROUTES if method == "POST"):
            if ("{" in path and path.count("{") > 1) or path in ASKS_FOR_A_NAME:
                continue
            where = PARAMETER.sub(self.name, path)
            for spec in SPECS:
                answer = self.api.post(where, json={"metadata": metadata, "spec": spec})
                if answer.status_code == 200:
                    self.kinds.add(path)
                    break

    def names(self) -> list[dict[str, str]]:
        """Values of path parameters that lead to the victim's things."""
        common = {
            "workspace_name": self.workspace,
            "client_id": self.client_id,
            "api_key_id": self.key_id,
            "account_id": self.account,
        }
        return [common | {"sub_or_email": who} for who in (self.sub, self.email)]

    def state(self) -> dict[str, Any]:
        """What the victim sees of itself: a deletion or replacement shows, a new status not."""
        seen = {}
        for method, path in ROUTES:
            if method == "GET" and not path.startswith(("/v0/accounts", "/v0/profile")):
                answer = self.api.get(fill(path, self.names()[0], self.name))
                found = answer.text.count(MARK), answer.text.count(self.name)
                seen[path] = (answer.status_code, *found)
        return seen


def fill(path: str, values: dict[str, str], otherwise: str) -> str:
    """A path template with values for its parameters."""
    return PARAMETER.sub(lambda match: values.get(match[1].split(":")[0], otherwise), path)


def absent(values: dict[str, str]) -> dict[str, str]:
    """Values of the same form that exist nowhere."""
    made = {key: value[:3] + token(len(value) - 3) for key, value in values.items()}
    if "@" in values["sub_or_email"]:
        made["sub_or_email"] = f"{token(8)}@example.com"
    return made


def comparable(answer: httpx.Response, *names: str) -> tuple[int, str]:
    """An answer without what the request itself put into it."""
    text = answer.text
    for name in sorted(names, key=len, reverse=True):
        text = text.replace(name, "NAME")
    if answer.status_code == 200:
        text = ""
    return answer.status_code, TIMES.sub("TIME", text)


@pytest.fixture(scope="module")
def victim(world: World) -> Victim:
    made = Victim(world)
    assert {"/v0/agents", "/v0/functions", "/v0/models", "/v0/policies"} <= made.kinds
    return made


@pytest.fixture(params=["another account", "another workspace", "another account's token"])
def intruder(world: World, request: pytest.FixtureRequest) -> tuple[httpx.Client, str]:
    """A client without access to the victim's workspace, and its own workspace."""
    if request.param.startswith("another account"):
        client, workspace = world.new_account()
        if request.param == "another account":
            return client, workspace
        return world.client(world.access_token(client, workspace=workspace)), workspace
    own, workspace = world.new_workspace()
    member, _ = world.new_user(own, "admin")
    del member.headers["X-Blaxel-Workspace"]
    return member, workspace


def requests(victim: Victim) -> Iterator[tuple[str, str, dict[str, str]]]:
    """Every route and value once; what creates comes last."""
    order = ("GET", "PUT", "DELETE", "POST")
    for method, path in sorted(ROUTES, key=lambda route: order.index(route[0])):
        ways = victim.names() if "{sub_or_email" in path else victim.names()[:1]
        for values in ways if path not in ASKS_FOR_A_NAME else ():
            yield method, path, values


def bodies(method: str, name: str) -> Iterator[dict[str, Any]]:
    """What to send: nothing that is right, and something that is right for most kinds."""
    if method in {"GET", "DELETE"}:
        yield {}
        return
    yield {"json": {}}
    body = {"metadata": {"name": name}, "spec": {}, "role": "member", "name": "x"}
    yield {"json": body}


def test_nothing_of_another_workspace_is_found(
    victim: Victim, intruder: tuple[httpx.Client, str], world: World
) -> None:
    client, own = intruder
    before, reached = victim.state(), set()
    # One name for the whole walk: what the intruder makes is then made under both names.
    nobody = f"none-{token(6)}"
    foreign_account = done(client.get("/v0/accounts"))[0]["id"] != victim.account
    for method, path, theirs in requests(victim):
        if path.startswith(OF_THE_ACCOUNT) and not foreign_account:
            continue
        if (method, path) == ENDS_ITSELF:
            continue
        nothing = absent(theirs)
        for header, unheard in (({}, {}), named(own), named(victim.workspace, "nowhere-at-all")):
            for real, other in zip(
                bodies(method, victim.name), bodies(method, nobody), strict=True
            ):
                found = client.request(
                    method, fill(path, theirs, victim.name), headers=header, **real
                )
                missed = client.request(
                    method, fill(path, nothing, nobody), headers=unheard, **other
                )
                names = (*theirs.values(), *nothing.values(), victim.name, nobody)
                names += (victim.workspace, "nowhere-at-all")
                assert MARK not in found.text, f"{method} {path}: {found.text}"
                assert found.status_code < 500, f"{method} {path}: {found.text}"
                assert comparable(found, *names) == comparable(missed, *names), f"{method} {path}"
                reached.add((method, path))
                if header.get("X-Blaxel-Workspace") == victim.workspace:
                    assert_own_business(found, path)
    assert len(reached) > 50
    assert victim.state() == before


def named(workspace: str, absent: str | None = None) -> tuple[dict[str, str], dict[str, str]]:
    """Headers that name a workspace, and those for the comparison."""
    key = "X-Blaxel-Workspace"
    return {key: workspace}, {key: absent or workspace}


ENDS_ITSELF = ("DELETE", "/v0/profile/grants")
"""Ends the very token that the walk goes by; it is about the caller alone."""
OF_THE_ACCOUNT = ("/v0/accounts/", "/v0/oauth/clients", "/v0/quotas/account/")
WITHOUT_WORKSPACE = (
    "/v0/account",
    "/v0/oauth/",
    "/v0/profile",
    "/v0/workspaces",
    "/v0/invitations",
    "/v0/oauth/clients",
    "/v0/quotas",
)


def assert_own_business(answer: httpx.Response, path: str) -> None:
    """With a foreign workspace named, only what is about the caller's self can succeed."""
    if not path.startswith(WITHOUT_WORKSPACE + CATALOGUES):
        assert answer.status_code >= 300, f"{path}: {answer.text[:300]}"


CATALOGUES = (
    "/v0/.well-known/",
    "/v0/changelog",
    "/v0/configuration",
    "/v0/drives/jwks.json",
    "/v0/locations",
    "/v0/mcp/hub",
    "/v0/openapi.json",
    "/v0/publicIps",
    "/v0/sandbox/hub",
    "/v0/templates",
)
"""Routes whose answer is the same for everybody, so that they may ask for no workspace."""
