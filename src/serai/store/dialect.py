"""What SQLite and PostgreSQL say differently; everything else is the same SQL."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from sqlalchemy import Column, ColumnElement, Connection, Table, func, select, text
from sqlalchemy.dialects import sqlite

from serai.store.reach import unbounded

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql

TRIGRAM = 3


def insert_into(conn: Connection, table: Table) -> "sqlite.Insert | postgresql.Insert":
    """An INSERT that can say what happens on a conflict, the same way on both engines."""
    if conn.dialect.name == "sqlite":
        return sqlite.insert(table)
    from sqlalchemy.dialects import postgresql  # brings a lot: not where nobody uses it

    return postgresql.insert(table)


def insert_new(conn: Connection, table: Table, row: dict[str, Any]) -> bool:
    """Insert a row unless one with its key exists; whether it did."""
    statement = insert_into(conn, table).values(row).on_conflict_do_nothing()
    return conn.execute(statement, execution_options={"preserve_rowcount": True}).rowcount > 0


def search_candidates(conn: Connection, wanted: str, limit: int) -> list[int] | None:
    """Numbers of documents whose search text may contain ``wanted``, by the trigram index.

    Returns:
        All of them, of every workspace; ``None`` when the index cannot help: the text is
        too short, there are more than ``limit``, or the engine has no such index.
    """
    if conn.dialect.name != "sqlite" or len(wanted) < TRIGRAM or "\0" in wanted:
        return None
    phrase = '"' + wanted.replace('"', '""') + '"'
    with unbounded("the index knows no workspaces: who asks keeps to one when reading the rows"):
        rows = conn.execute(
            text(
                "SELECT rowid FROM documents_search WHERE documents_search MATCH :phrase LIMIT :n"
            ),
            {"phrase": phrase, "n": limit + 1},
        ).all()
    return None if len(rows) > limit else [row[0] for row in rows]


def among(
    conn: Connection, column: "Column[Any]", values: Sequence[str] | Sequence[int]
) -> ColumnElement[bool]:
    """Whether a column has one of many values: one parameter, however many they are."""
    if conn.dialect.name == "sqlite":
        each = func.json_each(msgspec.json.encode(values).decode()).table_valued("value")
        return column.in_(select(each.c.value))
    return column == func.any(list(values))


def upsert_many(
    conn: Connection, table: Table, rows: Sequence[tuple[Any, ...]], conflict: Literal["add", "set"]
) -> None:
    """Insert many whole rows at the cost of the database alone.

    Args:
        conn: the transaction.
        table: with a primary key of which ``rows`` hold each value once.
        rows: values in the order of the table's columns.
        conflict: what happens to the columns outside the key of a row that exists: the last one
            grows by the new value, or all take the new values.
    """
    if not rows:
        return
    quote = conn.dialect.identifier_preparer.quote
    names = [quote(column.name) for column in table.columns]
    key = [quote(column.name) for column in table.primary_key.columns]
    grows = names[-1]
    changes = (
        [f"{grows} = {table.name}.{grows} + excluded.{grows}"]
        if conflict == "add"
        else [f"{name} = excluded.{name}" for name in names if name not in key]
    )
    tail = f"ON CONFLICT ({', '.join(key)}) DO UPDATE SET {', '.join(changes)}"
    head = f"INSERT INTO {table.name} ({', '.join(names)})"
    if conn.dialect.name == "sqlite":
        marks = ", ".join("?" * len(names))
        by_key = sorted(rows)  # one after the other as they lie in the file
        conn.exec_driver_sql(f"{head} VALUES ({marks}) {tail}", by_key)
        return
    types = [column.type.compile(conn.dialect) for column in table.columns]
    arrays = ", ".join(f"%s::{type_}[]" for type_ in types)
    columns = tuple(list(values) for values in zip(*rows, strict=True))
    statement = f"{head} SELECT * FROM unnest({arrays}) {tail}"  # noqa: S608
    conn.exec_driver_sql(statement, columns)
