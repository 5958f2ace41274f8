"""The move of users, memberships and keys keeps what is there."""

from pathlib import Path

from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory
from sqlalchemy import select, text

from serai.identity.accounts import principal_of
from serai.kernel.clock import now
from serai.store.database import Database
from serai.store.migrations import HERE
from serai.store.secrets import Vault
from serai.store.tables.identity import users


async def test_from_the_schema_before(tmp_path: Path) -> None:
    db, vault = Database(tmp_path / "serai.db"), Vault.open(tmp_path / "master.key")
    scripts = ScriptDirectory(str(HERE))
    before = scripts.get_revision("0004").down_revision
    assert isinstance(before, str)
    with db._engine.begin() as conn:
        context = MigrationContext.configure(conn)
        with Operations.context(context):
            for script in reversed(list(scripts.iterate_revisions(before, "base"))):
                script.module.upgrade()
                context.stamp(scripts, script.revision)
        moment = "2026-01-01T00:00:00.000Z"
        statements = [
            f"INSERT INTO accounts VALUES ('acc', 'a', 'usd', '{moment}')",
            "INSERT INTO workspaces (name, id, account_id, display_name, created_at, updated_at,"
            " created_by, labels)"
            f" VALUES ('w', 'i', 'acc', 'W', '{moment}', '{moment}', 'x', '{{}}')",
            f"INSERT INTO users VALUES ('u', 'acc', 'a@b', 1, '{moment}')",
            "INSERT INTO memberships VALUES ('w', 'u', 'admin')",
        ]
        for statement in statements:
            conn.execute(text(statement))
        conn.execute(
            text(
                "INSERT INTO api_keys (id, user_id, name, digest, hint, created_at)"
                " VALUES ('k', 'u', 'n', :digest, 'h', :moment)"
            ),
            {"digest": vault.digest("the key"), "moment": moment},
        )
    db.open()
    verified = await db.read(lambda conn: principal_of(conn, vault.digest("the key"), now()))
    assert verified is not None
    assert verified.principal.workspaces == {"w": "admin"}
    row = await db.read(lambda conn: conn.execute(select(users)).one())
    assert (row.account_admin, row.email_verified) == (True, False)
    broken = await db.read(lambda conn: conn.execute(text("PRAGMA foreign_key_check")).all())
    assert broken == []
    db.close()
