"""API keys: their form, and their first and later starts."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from serai.identity.bootstrap import bootstrap
from serai.identity.keys import BASE62, hint, looks_like_key, new_key
from serai.store.database import Database
from serai.store.secrets import Vault


def test_keys_are_all_different_and_recognised() -> None:
    keys = {new_key() for _ in range(200)}
    assert len(keys) == 200
    assert all(looks_like_key(key) for key in keys)
    assert not any(key in hint(key) for key in keys)


@given(st.integers(3, 48), st.sampled_from(BASE62))
def test_one_wrong_character_is_noticed(place: int, character: str) -> None:
    key = new_key()
    changed = key[:place] + character + key[place + 1 :]
    assert looks_like_key(changed) == (changed == key)


@given(st.text())
def test_other_text_is_no_key(text: str) -> None:
    assert not looks_like_key(text)


async def test_a_later_start_adds_what_is_asked_and_repeats_nothing(tmp_path: Path) -> None:
    db, vault = Database(tmp_path / "serai.db"), Vault.open(tmp_path / "master.key")
    db.open()
    first = await db.write(lambda conn: bootstrap(conn, vault, "main", None))
    assert first.admin_key is not None
    assert looks_like_key(first.admin_key)
    again = await db.write(lambda conn: bootstrap(conn, vault, "main", None))
    assert again.admin_key is None
    own = await db.write(lambda conn: bootstrap(conn, vault, "second", "my own key"))
    assert own.admin_key == "my own key"
    raw = (tmp_path / "serai.db").read_bytes() + (tmp_path / "serai.db-wal").read_bytes()
    assert first.admin_key.encode() not in raw
    assert b"my own key" not in raw
    db.close()
