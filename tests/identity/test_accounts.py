"""`serai accounts`, beside a running server, and changes that come from outside it."""

import subprocess
import time
from datetime import datetime

import httpx
from sqlalchemy import Connection

from platform_server import COMMAND, environment
from serai.identity import accounts, changes
from serai.kernel.ids import token

from .conftest import World, done


def command(world: World, *words: str) -> subprocess.CompletedProcess[str]:
    """Run `serai accounts …` on the server's data directory."""
    place = ["--data-dir", str(world.server.data_dir)]
    return subprocess.run(
        [*COMMAND, "accounts", *words, *place],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_another_account_works_while_the_server_runs(world: World) -> None:
    name = f"second-{token(6)}"
    email = f"boss@{name}.example"
    made = command(world, "create", "Second Ltd", "--email", email, "--workspace", name)
    assert made.returncode == 0, made.stderr
    boss = world.client(made.stdout.strip())
    profile = done(boss.get("/v0/profile"))
    assert (profile["email"], profile["accountAdmin"]) == (email, True)
    assert [one["name"] for one in done(boss.get("/v0/workspaces"))] == [name]
    assert done(boss.get("/v0/users"))[0]["role"] == "admin"
    listed = command(world, "list").stdout
    assert f"{profile['accountId']}  Second Ltd" in listed
    assert f"workspaces: {name}" in listed
    assert f"admins: {email}" in listed
    assert made.stdout.strip() not in listed


def test_bad_words_are_named(world: World) -> None:
    for words, told in (
        (["x", "--email", "nobody", "--workspace", "ws"], "not an e-mail address"),
        (["x", "--email", "a@example.com", "--workspace", "main"], "taken"),
        (["x", "--email", "a@example.com", "--workspace", "login"], "login"),
        (["\n", "--email", "a@example.com", "--workspace", "fine"], "NAME"),
    ):
        failed = command(world, "create", *words)
        assert failed.returncode == 1, failed.stdout
        assert told in failed.stderr


def test_a_key_that_is_revoked_from_outside_ends_within_a_second(world: World) -> None:
    api, _ = world.new_workspace()
    made = done(api.post("/v0/profile/api_keys", json={"name": "outside"}))
    client = world.client(made["apiKey"])
    done(client.get("/v0/profile"))
    done(client.get("/v0/profile"))

    def revoke(conn: Connection) -> None:
        accounts.revoke_key(conn, made["id"])
        changes.note(conn)

    world.write(revoke)
    assert seconds_until_refused(client) < 1.0


def test_a_deleted_key_is_refused_by_the_next_request(world: World) -> None:
    api, _ = world.new_workspace()
    made = done(api.post("/v0/profile/api_keys", json={"name": "soon gone"}))
    client = world.client(made["apiKey"])
    done(client.get("/v0/profile"))
    done(api.delete(f"/v0/profile/api_keys/{made['id']}"))
    assert client.get("/v0/profile").status_code == 401


def test_a_key_ends_to_the_second_and_says_when_it_was_used(world: World) -> None:
    api, _ = world.new_workspace()
    made = done(api.post("/v0/profile/api_keys", json={"name": "short", "expires_in": "3s"}))
    client = world.client(made["apiKey"])
    done(client.get("/v0/profile"))
    seconds_until_refused(client)
    refused = time.time()
    listed = {one["id"]: one for one in done(api.get("/v0/profile/api_keys"))}[made["id"]]
    assert listed["expiresAt"] > listed["createdAt"]
    assert 0 <= refused - datetime.fromisoformat(listed["expiresAt"]).timestamp() < 2


def seconds_until_refused(client: httpx.Client) -> float:
    """How long a credential goes on working; looks often, at most ten seconds."""
    begin = time.monotonic()
    while client.get("/v0/profile").status_code == 200:
        assert time.monotonic() < begin + 10
        time.sleep(0.02)
    return time.monotonic() - begin
