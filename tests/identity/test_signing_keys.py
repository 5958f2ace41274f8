"""Signing keys over months of simulated time, and the command that replaces them."""

import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serai.identity.signing_keys import (
    PUBLISHED_AHEAD,
    ROTATE_EVERY,
    TOKEN_LIFE,
    KeyRing,
    load,
    maintain,
    replace,
)
from serai.store.database import Database
from serai.store.secrets import Vault

from .conftest import World, done

START = datetime(2026, 1, 1, tzinfo=UTC)


class Months:
    """A key store whose clock a test sets; remembers when which key was seen and signed."""

    def __init__(self, directory: Path) -> None:
        self.db = Database(directory / "serai.db")
        self.vault = Vault.open(directory / "master.key")
        self.db.open()
        self.ring = KeyRing(self.db, self.vault)
        self.first_seen: dict[str, datetime] = {}
        self.signed: list[tuple[str, datetime]] = []

    def look(self, at: datetime) -> None:
        """What the server does once an hour, then what clients do."""
        self.db.submit(lambda conn: maintain(conn, self.vault, at)).result()
        self.ring.reload()
        for key in self.ring.published():
            self.first_seen.setdefault(str(key["kid"]), at)
            assert "d" not in key, "a private key was published"
        self.signed.append((self.ring.signing(at).kid, at))

    def close(self) -> None:
        self.db.close()


@settings(max_examples=20, deadline=None)
@given(hours=st.lists(st.integers(min_value=1, max_value=24 * 9), min_size=5, max_size=60))
def test_no_client_ever_meets_an_unknown_key(hours: list[int]) -> None:
    """Whenever the server looks, late or often: keys are seen before they sign, and after."""
    with tempfile.TemporaryDirectory() as directory:
        months, at = Months(Path(directory)), START
        months.look(at)
        first = months.signed[0][0]
        for pause in hours:
            at += timedelta(hours=pause)
            months.look(at)
            published = {str(key["kid"]) for key in months.ring.published()}
            for kid, signed_at in months.signed:
                if signed_at + TOKEN_LIFE >= at:
                    assert kid in published
            kid, _ = months.signed[-1]
            if kid != first:
                assert at - months.first_seen[kid] >= PUBLISHED_AHEAD
            assert len(published) <= 3
        assert len({kid for kid, _ in months.signed}) <= (at - START) / ROTATE_EVERY + 1
        months.close()


def test_a_second_look_changes_nothing(tmp_path: Path) -> None:
    months = Months(tmp_path)
    for days in (0, 29.5, 30, 31, 60):
        months.look(START + timedelta(days=days))
        before = months.ring.published()
        months.look(START + timedelta(days=days))
        assert months.ring.published() == before
    months.close()


@pytest.mark.parametrize("at_once", [False, True])
def test_replacing(tmp_path: Path, at_once: bool) -> None:
    months = Months(tmp_path)
    months.look(START)
    old = months.signed[0][0]
    at = START + timedelta(days=3)
    new = months.db.submit(lambda c: replace(c, months.vault, at, at_once=at_once)).result()
    months.look(at)
    assert months.signed[-1][0] == (new if at_once else old)
    kids = [key.kid for key in months.db.read_now(lambda c: load(c, months.vault))]
    assert kids == ([new] if at_once else [old, new])
    months.look(at + PUBLISHED_AHEAD)
    assert months.signed[-1][0] == new
    months.close()


def test_a_private_key_stands_nowhere_in_clear(tmp_path: Path) -> None:
    months = Months(tmp_path)
    months.look(START)
    secret = months.ring.signing(START).key.as_dict(private=True)["d"]
    months.close()
    raw = b"".join(path.read_bytes() for path in tmp_path.glob("serai.db*"))
    assert str(secret).encode() not in raw
    assert b"PRIVATE KEY" not in raw


def test_the_command_ends_every_token_of_a_leaked_key(world: World) -> None:
    token = world.access_token(world.admin)
    client = world.client(token)
    done(client.get("/v0/profile"))
    listed = world.server.run("signing-keys", "list")
    assert listed.returncode == 0
    replaced = world.server.run("signing-keys", "replace", "--at-once")
    assert replaced.returncode == 0, replaced.stderr
    deadline = time.monotonic() + 5
    while client.get("/v0/profile").status_code == 200 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert client.get("/v0/profile").status_code == 401
    assert done(world.client(world.access_token(world.admin)).get("/v0/profile"))
    kid = replaced.stdout.strip()
    assert [
        line.split()[0] for line in world.server.run("signing-keys", "list").stdout.splitlines()
    ] == [kid]


def test_the_command_without_data_says_what_to_do(world: World, tmp_path: Path) -> None:
    answer = world.server.run("signing-keys", "list", "--data-dir", str(tmp_path / "none"))
    assert answer.returncode == 1
    assert "start `serai up` once" in answer.stderr


def test_an_unknown_key_is_looked_for_once_a_second(tmp_path: Path) -> None:
    months = Months(tmp_path)
    months.look(START)
    loads = []
    months.ring.reload = lambda: loads.append(1)  # type: ignore[method-assign]
    for _ in range(100):
        assert months.ring.verifying("strange") is None
    assert len(loads) <= 1
    months.close()
