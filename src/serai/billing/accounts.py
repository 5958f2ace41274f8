"""Accounts as billing knows them, and who may see what of one."""

from collections.abc import Collection

from sqlalchemy import Connection, select

from serai.identity.principal import Principal
from serai.kernel.errors import Forbidden, NotFound
from serai.metering.usage import Scope
from serai.store.tables import identity
from serai.wire.billing import Account


def accounts(conn: Connection, visible: Collection[str] | None = None) -> list[Account]:
    """The accounts with these ids, or all, in order of their ids."""
    table = identity.accounts
    query = select(table).order_by(table.c.id)
    if visible is not None:
        query = query.where(table.c.id.in_(list(visible)))
    return [
        Account(id=row.id, name=row.name, currency=row.currency, created_at=row.created_at)
        for row in conn.execute(query)
    ]


def scope_of(caller: Principal, account_id: str) -> Scope:
    """Admins see the whole account, others what their own workspaces used.

    Raises:
        NotFound: another account, which looks like one that does not exist.
    """
    if account_id != caller.account_id:
        raise NotFound(
            f"There is no account {account_id[:80]!r} that this key reaches; GET /v0/accounts "
            "tells the id of yours.",
            code="ACCOUNT_NOT_FOUND",
        )
    workspaces = None if caller.account_admin else frozenset(caller.workspaces)
    return Scope(account_id=account_id, workspaces=workspaces)


def need_admin(caller: Principal, account_id: str, what: str) -> Scope:
    """The whole account, for its admins only.

    Raises:
        NotFound: another account.
        Forbidden: no account admin; ``what`` says what is for them.
    """
    scope = scope_of(caller, account_id)
    if not caller.account_admin:
        raise Forbidden(
            f"Access denied: {what} for admins of the account; use the key of an account admin."
        )
    return scope
