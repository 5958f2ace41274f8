"""Pages, totals and search against a plain list in memory, after any sequence of changes."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, delete, func, select, update

from serai.api.pages import PageQuery
from serai.resources import counts, documents
from serai.resources.documents import HIDDEN, Document
from serai.store.database import Database
from serai.store.tables.documents import document_counts
from serai.store.tables.documents import documents as table

STATUSES = ["DEPLOYED", "FAILED", HIDDEN]
LISTS = [("w", "agent", ""), ("w", "agent", "p"), ("w", "model", ""), ("v", "agent", "")]
names = st.integers(0, 11).map(lambda number: f"n{number:02}")
words = st.text(st.sampled_from("abc%_/é\"'\\ \nİ"), max_size=6)
steps = st.lists(
    st.tuples(st.sampled_from(LISTS), names, st.sampled_from([*STATUSES, "drop"]), words),
    max_size=60,
)
queries = st.tuples(
    st.sampled_from(["created_at", "name"]),
    st.booleans(),
    st.booleans(),
    st.one_of(st.none(), st.sets(st.sampled_from(STATUSES), min_size=1).map(frozenset)),
    st.one_of(st.none(), st.text(st.sampled_from("abc%_/é\"'\\ İ"), min_size=2, max_size=4)),
    st.one_of(st.none(), st.sampled_from(["x1", "x2"])),
    st.booleans(),
    st.integers(1, 7),
)


@pytest.fixture(scope="module")
def db() -> Iterator[Database]:
    """An empty database."""
    with tempfile.TemporaryDirectory() as folder:
        opened = Database(Path(folder) / "serai.db")
        opened.open()
        yield opened
        opened.close()


def write(db: Database, fn: Any) -> Any:
    """Run a write and wait for it."""
    return db.submit(fn).result(timeout=30)


def clear(conn: Connection) -> None:
    """Drop every document."""
    for kind in ("agent", "model"):
        for document in documents.every(conn, kind):
            documents.drop_by_id(conn, document.id)


def document(place: tuple[str, str, str], name: str, status: str, word: str) -> Document:
    """A document whose moment and external id follow from its name."""
    workspace, kind, parent = place
    return Document(
        id=f"{workspace}{kind}{parent}{name}",
        workspace=workspace,
        kind=kind,
        parent=parent,
        name=name,
        external_id=f"x{int(name[1:]) % 3}",
        status=status,
        generation=1,
        created_at=f"2026-01-0{int(name[1:]) % 4}",
        updated_at="",
        search=f"{name}\n{word}".lower(),
        body=msgspec.json.encode({"name": name}).decode(),
        secrets=None,
    )


def apply(conn: Connection, changes: Any) -> dict[str, Document]:
    """Run changes and keep the same in a dict."""
    held: dict[str, Document] = {}
    for place, name, status, word in changes:
        made = document(place, name, status, word)
        if status == "drop":
            documents.drop_by_id(conn, made.id)
            held.pop(made.id, None)
        elif made.id in held:
            documents.save(conn, made)
            held[made.id] = made
        else:
            documents.add(conn, made)
            held[made.id] = made
    return held


def query_of(drawn: Any) -> PageQuery:
    """A page query from drawn values."""
    column, descending, from_end, statuses, q, external_id, show_terminated, limit = drawn
    return PageQuery(
        limit=limit,
        column=column,
        descending=descending,
        cursor=None,
        q=q.lower() if q else None,
        from_end=from_end,
        statuses=statuses,
        external_id=external_id,
        show_terminated=show_terminated,
    )


def expected(held: dict[str, Document], place: tuple[str, str, str], query: PageQuery) -> list[str]:
    """The names that a list shows, in order, by the plain meaning of a query."""
    found = [one for one in held.values() if (one.workspace, one.kind, one.parent) == place]
    if query.statuses is not None:
        found = [one for one in found if one.status in query.statuses]
    elif not query.show_terminated:
        found = [one for one in found if one.status != HIDDEN]
    if query.external_id:
        found = [one for one in found if one.external_id == query.external_id]
    if query.q:
        found = [one for one in found if query.q in one.search]
    found.sort(key=lambda one: (getattr(one, query.column), one.id), reverse=query.descending)
    return [one.name for one in found]


def walk(conn: Connection, place: tuple[str, str, str], query: PageQuery) -> tuple[list[str], int]:
    """Every name of a list, page by page, and the total."""
    shown: list[str] = []
    after = None
    workspace, kind, parent = place
    while True:
        page = documents.page(conn, workspace, kind, query, after, query.limit or 1, parent)
        part = [msgspec.json.decode(item)["name"] for item in page.items]
        shown = [*part, *shown] if query.from_end else [*shown, *part]
        if not page.more:
            return shown, page.total
        after = page.last


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(changes=steps, place=st.sampled_from(LISTS), drawn=queries)
def test_lists_say_what_there_is(db: Database, changes: Any, place: Any, drawn: Any) -> None:
    query = query_of(drawn)

    def check(conn: Connection) -> None:
        clear(conn)
        held = apply(conn, changes)
        shown, total = walk(conn, place, query)
        assert shown == expected(held, place, query)
        whole = query_of(("name", False, False, None, None, None, query.show_terminated, 1))
        assert total == len(expected(held, place, whole))

    write(db, check)


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(changes=steps, moved=st.one_of(st.none(), st.sampled_from(STATUSES)))
def test_counts_are_the_real_counts(db: Database, changes: Any, moved: str | None) -> None:
    def check(conn: Connection) -> None:
        clear(conn)
        apply(conn, changes)
        if moved is not None:
            conn.execute(update(table).where(table.c.name < "n05").values(status=moved))
            conn.execute(delete(table).where(table.c.name > "n09"))
        group = (table.c.workspace, table.c.kind, table.c.parent, table.c.status)
        real = {
            row[:4]: row[4] for row in conn.execute(select(*group, func.count()).group_by(*group))
        }
        c = document_counts.c
        kept = conn.execute(select(document_counts).where(c["count"] != 0))
        assert {row[:4]: row[4] for row in kept} == real

    write(db, check)


def test_a_change_that_fails_changes_no_count(db: Database) -> None:
    place = ("z", "agent", "")

    def fail(conn: Connection) -> None:
        documents.add(conn, document(place, "n01", "DEPLOYED", ""))
        raise ValueError("after the change")

    with pytest.raises(ValueError):
        write(db, fail)
    assert db.read_now(lambda conn: counts.by_status(conn, place)) == {}


def test_many_matches_are_found_without_the_search_index(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(documents, "CANDIDATES", 3)
    changes = [(("w", "model", ""), f"n{n:02}", "DEPLOYED", "abcabc") for n in range(12)]
    drawn = ("name", False, False, None, "abca", None, False, 5)

    def check(conn: Connection) -> None:
        clear(conn)
        apply(conn, changes)
        shown, _ = walk(conn, ("w", "model", ""), query_of(drawn))
        assert shown == [f"n{n:02}" for n in range(12)]

    write(db, check)
