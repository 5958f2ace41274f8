"""Migrations: ``versions/NNNN_title.py`` of the platform's database, ``usage/`` of the usage's,
``logs/`` of that of logs.

The file ``NNNN_title.py`` of a chain has the revision ``NNNN``.

Migrations run when the database is opened. Alembic is imported only when there is something to
do: a start on a current database stays quick and small.
"""

from pathlib import Path

import msgspec
from sqlalchemy import Connection, Engine, inspect, text

from serai.kernel.errors import SeraiError

HERE = Path(__file__).parent


class Chain(msgspec.Struct, frozen=True):
    """The migrations of one database.

    Attributes:
        folder: its files.
        table: where a database keeps its revision; two chains may share a PostgreSQL database.
    """

    folder: Path
    table: str


PLATFORM = Chain(HERE / "versions", "alembic_version")
USAGE = Chain(HERE / "usage", "usage_version")
LOGS = Chain(HERE / "logs", "logs_version")


class SchemaTooNew(SeraiError):
    """A database was written by a newer Serai."""

    code = "SCHEMA_TOO_NEW"


def revisions(chain: Chain = PLATFORM) -> list[str]:
    """Every revision of this version of Serai, oldest first."""
    return sorted(path.name[:4] for path in chain.folder.glob("[0-9]*.py"))


def migrate(engine: Engine, chain: Chain = PLATFORM) -> None:
    """Bring the schema to the newest revision, in one transaction.

    Raises:
        SchemaTooNew: the stored revision is unknown to this version of Serai.
    """
    known = revisions(chain)
    with engine.begin() as conn:
        if conn.dialect.name == "postgresql":
            conn.execute(text("SELECT pg_advisory_xact_lock(hashtext('serai migrations'))"))
        current = revision(conn, chain)
        if current == known[-1]:
            return
        if current is not None and current not in known:
            raise SchemaTooNew(
                f"The database has schema {current}, which this version of Serai does not "
                "know: a newer Serai wrote it. Upgrade Serai, or use another --data-dir."
            )
        _upgrade(conn, chain, current)


def revision(conn: Connection, chain: Chain = PLATFORM) -> str | None:
    """The revision that a database has; ``None`` for an empty one."""
    if not inspect(conn).has_table(chain.table):
        return None
    return conn.execute(text(f"SELECT version_num FROM {chain.table}")).scalar()  # noqa: S608


def _upgrade(conn: Connection, chain: Chain, current: str | None) -> None:
    from alembic.migration import MigrationContext
    from alembic.operations import Operations
    from alembic.script import ScriptDirectory

    scripts = ScriptDirectory(str(HERE), version_locations=[str(chain.folder)])
    context = MigrationContext.configure(conn, opts={"version_table": chain.table})
    steps = list(scripts.iterate_revisions("head", current or "base"))
    with Operations.context(context):
        for script in reversed(steps):
            script.module.upgrade()
            context.stamp(scripts, script.revision)
