"""References: their parts, whom they mean, and what the runtime is asked for."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection

from serai.images import records
from serai.images.names import refers, split_reference
from serai.images.resolution import resolve
from serai.store.database import Database

NAMES = st.from_regex(r"[a-z0-9]{1,8}(-[a-z0-9]{1,4})?", fullmatch=True)
TAGS = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,10}", fullmatch=True)


@pytest.fixture
def conn(tmp_path: Path) -> Iterator[Connection]:
    """A connection to a database with one image of two tags."""
    database = Database(tmp_path / "serai.db")
    database.open()
    with database._engine.begin() as connection:
        for tag in ("v1", "v2"):
            reference = f"blaxel/node:{tag}"
            records.register(connection, "main", "sandbox", "mine", tag, reference, size=7)
        yield connection
    database.close()


@pytest.mark.parametrize(
    ("reference", "found"),
    [
        ("mine:v1", "blaxel/node:v1"),
        ("sandbox/mine:v2", "blaxel/node:v2"),
        ("sandboxes/mine:v2", "blaxel/node:v2"),
        ("main/mine:v1", "blaxel/node:v1"),
        ("mine", "blaxel/node:v2"),
        ("mine:v3", None),
        ("agent/mine:v1", None),
        ("other/mine:v1", None),
        ("blaxel/node:latest", None),
        ("", None),
        ("a/b/c/mine", None),
    ],
)
def test_resolve(conn: Connection, reference: str, found: str | None) -> None:
    assert resolve(conn, "main", "sandbox", reference) == found
    assert resolve(conn, "beside", "sandbox", reference) is None


def test_latest_comes_first(conn: Connection) -> None:
    records.register(conn, "main", "sandbox", "mine", "latest", "blaxel/base-image:latest", size=0)
    records.register(conn, "main", "sandbox", "mine", "v9", "blaxel/node:v9", size=0)
    assert resolve(conn, "main", "sandbox", "mine") == "blaxel/base-image:latest"


@given(name=NAMES, tag=TAGS, host=st.sampled_from(["", "localhost:5000/", "a/b/"]))
def test_references_split(name: str, tag: str, host: str) -> None:
    assert split_reference(f"{host}{name}:{tag}") == (host + name, tag)
    assert split_reference(f"{host}{name}") == (host + name, None)
    assert split_reference(f"{host}{name}:{tag}@sha256:0") == (host + name, tag)


@given(name=NAMES, other=NAMES, tag=TAGS)
def test_references_mean_one_image(name: str, other: str, tag: str) -> None:
    for prefix in ("", "sandbox/", "sandboxes/", "main/", "main/sandbox/"):
        assert refers(f"{prefix}{name}:{tag}", "main", "sandbox", name)
        assert refers(f"{prefix}{name}:{tag}", "main", "sandbox", name, tag)
        assert refers(f"{prefix}{name}", "main", "sandbox", name, "latest")
        assert refers(f"{prefix}{name}", "main", "sandbox", other) == (name == other)
    for prefix in ("agent/", "elsewhere/", "blaxel/"):
        assert not refers(f"{prefix}{name}", "main", "sandbox", name)


@given(st.text(max_size=60))
def test_any_text_is_read_without_harm(text: str) -> None:
    repository, tag = split_reference(text)
    assert repository in text
    assert tag is None or tag in text
    refers(text, "main", "sandbox", "x")
