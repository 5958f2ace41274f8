"""Requests that carry two credentials, and strings that only look like one."""

import asyncio
from pathlib import Path

import httpx
import pytest
from sqlalchemy import event

from platform_server import KEY
from serai.identity.access_tokens import AccessTokens
from serai.identity.authenticator import CredentialAuthenticator
from serai.identity.grants import Grant
from serai.identity.keys import new_key
from serai.identity.signing_keys import KeyRing
from serai.kernel.clock import now
from serai.kernel.errors import AuthenticationFailed
from serai.store.database import Database
from serai.store.secrets import Vault

from .conftest import World, done

PLATFORM, PLAIN = "X-Blaxel-Authorization", "Authorization"


def ask(world: World, path: str, platform: str, plain: str) -> httpx.Response:
    headers = {PLATFORM: f"Bearer {platform}", PLAIN: f"Bearer {plain}"}
    return world.anonymous("GET", path, headers=headers)


def test_two_identities_are_refused(world: World) -> None:
    other, _ = world.new_account()
    theirs = done(other.post("/v0/profile/api_keys", json={}))["apiKey"]
    token = world.access_token(world.admin)
    for path in ("/v0/profile", "/main/models/any/v1/models", "/main/sandboxes/any/health"):
        for pair in ((KEY, theirs), (theirs, KEY), (token, theirs), (theirs, token)):
            answer = ask(world, path, *pair)
            assert answer.status_code == 400, answer.text
            assert "CONFLICTING_CREDENTIALS" in answer.text
            assert answer.json()["message"].startswith(PLATFORM)


def test_two_credentials_of_one_person_are_not(world: World) -> None:
    token = world.access_token(world.admin)
    for pair in ((KEY, token), (token, KEY), (KEY, KEY)):
        done(ask(world, "/v0/profile", *pair))
        assert ask(world, "/main/models/any/v1/models", *pair).status_code == 404


@pytest.mark.parametrize("other", ["replaced", "sk-of-a-provider", "ey.is.no-token", new_key()])
def test_what_is_no_credential_contradicts_nothing(world: World, other: str) -> None:
    done(ask(world, "/v0/profile", KEY, other))
    assert ask(world, "/main/models/any/v1/models", KEY, other).status_code == 404


async def test_a_token_of_ours_is_recognised_before_it_is_verified(tmp_path: Path) -> None:
    db, vault = Database(tmp_path / "serai.db"), Vault.open(tmp_path / "master.key")
    await asyncio.to_thread(db.open)
    ring = KeyRing(db, vault)
    await ring.open()
    ours = AccessTokens(ring, "https://here.example/v0", "a")
    theirs = AccessTokens(ring, "https://there.example/v0", "a")
    authenticator = CredentialAuthenticator(db, vault, ours)
    grant = Grant(id="g", client_id="c", user_id="u")
    assert authenticator.recognizes(ours.issue(grant, "", now()))
    assert authenticator.recognizes(new_key())
    for other in (theirs.issue(grant, "", now()), "sk-proj", "ey.e30.x", "ey..", "", "é.é.é"):
        assert not authenticator.recognizes(other)
    db.close()


def test_a_header_that_comes_twice_is_two_credentials(world: World) -> None:
    other, _ = world.new_account()
    theirs = done(other.post("/v0/profile/api_keys", json={}))["apiKey"]
    headers = [(PLATFORM, f"Bearer {KEY}"), (PLATFORM, f"Bearer {theirs}")]
    for pair in (headers, headers[::-1]):
        answer = httpx.get(f"{world.server.url}/v0/profile", headers=pair, trust_env=False)
        assert answer.status_code == 400, answer.text


async def test_a_mistyped_key_is_never_looked_up(tmp_path: Path) -> None:
    db, vault = Database(tmp_path / "serai.db"), Vault.open(tmp_path / "master.key")
    await asyncio.to_thread(db.open)
    tokens = AccessTokens(KeyRing(db, vault), "issuer", "audience")
    authenticator = CredentialAuthenticator(db, vault, tokens)
    statements: list[str] = []
    event.listen(db._engine, "before_cursor_execute", lambda *call: statements.append(call[2]))
    good = new_key()
    for wrong in (
        good[:-1] + ("A" if good[-1] != "A" else "B"),
        good[:10] + ("A" if good[10] != "A" else "B") + good[11:],
        "x" * 5000,
        "ey" + "a.b.c" * 2000,
    ):
        with pytest.raises(AuthenticationFailed):
            await authenticator.verify(wrong)
    assert statements == []
    with pytest.raises(AuthenticationFailed):
        await authenticator.verify(good)
    assert [text for text in statements if "api_keys" in text]
    db.close()


def test_a_thousand_wrong_keys_tell_nothing(world: World) -> None:
    """Unknown, revoked and foreign keys: one answer, whatever is behind it."""
    made = done(world.admin.post("/v0/profile/api_keys", json={}))
    done(world.admin.delete(f"/v0/profile/api_keys/{made['id']}"))
    answers = {world.client(key).get("/v0/profile").text for key in (made["apiKey"], new_key())}
    assert len(answers) == 1
