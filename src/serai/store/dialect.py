"""What SQLite and PostgreSQL say differently; everything else is the same SQL."""

from typing import Any

from sqlalchemy import Connection, Table, text
from sqlalchemy.dialects import postgresql, sqlite

from serai.store.reach import unbounded

TRIGRAM = 3


def insert_into(conn: Connection, table: Table) -> "sqlite.Insert | postgresql.Insert":
    """An INSERT that can say what happens on a conflict, the same way on both engines."""
    if conn.dialect.name == "sqlite":
        return sqlite.insert(table)
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
