"""A data directory of the version before keeps its documents."""

import sqlite3
from pathlib import Path

from sqlalchemy import create_engine

from serai.api.pages import parse_page_query
from serai.resources import documents
from serai.store import migrations
from serai.store.database import Database


def old_database(path: Path) -> None:
    """A database as of revision 0002 with three agents."""
    from alembic.migration import MigrationContext
    from alembic.operations import Operations
    from alembic.script import ScriptDirectory

    scripts = ScriptDirectory(str(migrations.HERE))
    with create_engine(f"sqlite:///{path}").begin() as conn:
        context = MigrationContext.configure(conn)
        with Operations.context(context):
            for script in reversed(list(scripts.iterate_revisions("0002", "base"))):
                script.module.upgrade()
                context.stamp(scripts, script.revision)
    raw = sqlite3.connect(path)
    for number in range(3):
        row = (f"i{number}", "w", "agent", f"n{number}", None, "DEPLOYED", 1, "2026", "2026")
        raw.execute(
            "INSERT INTO documents (id, workspace, kind, name, external_id, status, generation, "
            "created_at, updated_at, search, body) VALUES (?,?,?,?,?,?,?,?,?,?,?)",
            (*row, f"n{number}\nneedle{number}", f'{{"n":{number}}}'),
        )
    raw.commit()
    raw.close()


def test_documents_are_listed_counted_and_found_after_the_upgrade(tmp_path: Path) -> None:
    path = tmp_path / "serai.db"
    old_database(path)
    db = Database(path)
    db.open()
    try:
        for q, names in (("", [2, 1, 0]), ("needle1", [1])):
            query = parse_page_query({"q": q, "sort": "name:desc"}, ())
            page = db.read_now(lambda conn, q=query: documents.page(conn, "w", "agent", q, None, 9))
            assert page.items == [f'{{"n":{number}}}'.encode() for number in names]
            assert page.total == 3
    finally:
        db.close()
