"""The one Alembic tree: ``versions/NNNN_title.py``, whose revision is ``NNNN``.

Migrations run when the database is opened. Alembic is imported only when there is something to
do: a start on a current database stays quick and small.
"""

from pathlib import Path

from sqlalchemy import Connection, Engine, inspect, text

from serai.kernel.errors import SeraiError

HERE = Path(__file__).parent


class SchemaTooNew(SeraiError):
    """The data directory was written by a newer Serai."""

    code = "SCHEMA_TOO_NEW"


def revisions() -> list[str]:
    """Every revision of this version of Serai, oldest first."""
    return sorted(path.name[:4] for path in (HERE / "versions").glob("[0-9]*.py"))


def migrate(engine: Engine) -> None:
    """Bring the schema to the newest revision, in one transaction.

    Raises:
        SchemaTooNew: the stored revision is unknown to this version of Serai.
    """
    known = revisions()
    with engine.begin() as conn:
        current = _current(conn)
        if current == known[-1]:
            return
        if current is not None and current not in known:
            raise SchemaTooNew(
                f"The data directory has schema {current}, which this version of Serai does not "
                "know: a newer Serai wrote it. Upgrade Serai, or use another --data-dir."
            )
        _upgrade(conn, current)


def _current(conn: Connection) -> str | None:
    if not inspect(conn).has_table("alembic_version"):
        return None
    return conn.execute(text("SELECT version_num FROM alembic_version")).scalar()


def _upgrade(conn: Connection, current: str | None) -> None:
    from alembic.migration import MigrationContext
    from alembic.operations import Operations
    from alembic.script import ScriptDirectory

    scripts = ScriptDirectory(str(HERE))
    context = MigrationContext.configure(conn)
    steps = list(scripts.iterate_revisions("head", current or "base"))
    with Operations.context(context):
        for script in reversed(steps):
            script.module.upgrade()
            context.stamp(scripts, script.revision)
