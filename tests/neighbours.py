"""Other workspaces and accounts beside a running server's first one."""

from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Connection, select

from platform_server import Server
from serai.identity import accounts
from serai.store.database import Database
from serai.store.secrets import Vault
from serai.store.tables.identity import users

Result = TypeVar("Result")


def add_workspace(server: Server, name: str, *, role: str | None = None) -> str:
    """Another workspace of the first account; returns a key of a user of its own.

    With a role the first admin gets it there too.
    """

    def write(conn: Connection, vault: Vault) -> str:
        admin = conn.execute(select(users).order_by(users.c.created_at).limit(1)).one()
        return _populate(
            conn, vault, admin.account_id, name, "admin", [(admin.id, role)], account_admin=False
        )

    return change_database(server, write)


def add_account(server: Server, name: str, role: str = "admin") -> tuple[str, str]:
    """Another account with one workspace; returns its id and a key of its user."""

    def write(conn: Connection, vault: Vault) -> tuple[str, str]:
        account = accounts.create_account(conn, name)
        return account, _populate(
            conn, vault, account, name, role, [], account_admin=role == "admin"
        )

    return change_database(server, write)


def _populate(
    conn: Connection,
    vault: Vault,
    account: str,
    name: str,
    role: str,
    others: list[tuple[str, str | None]],
    *,
    account_admin: bool,
) -> str:
    key = f"key-of-{name}-with-enough-characters"
    email = f"{name}@example.com"
    user = accounts.create_user(conn, account, email, account_admin=account_admin)
    accounts.create_workspace(conn, account, name, email)
    accounts.grant(conn, name, user, role)
    for other, granted in others:
        if granted:
            accounts.grant(conn, name, other, granted)
    accounts.store_key(conn, vault, user, "test", key)
    return key


def change_database(server: Server, write: Callable[[Connection, Vault], Result]) -> Result:
    """Change a running server's database from outside."""
    database = Database(server.data_dir / "serai.db")
    vault = Vault.open(server.data_dir / "master.key")
    with database._engine.begin() as conn:
        return write(conn, vault)
