"""What SQLite and PostgreSQL say differently; everything else is the same SQL."""

from sqlalchemy import Connection, text

from serai.store.reach import unbounded

TRIGRAM = 3


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
