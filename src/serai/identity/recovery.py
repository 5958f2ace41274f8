"""The link that an operator makes for somebody who cannot sign in."""

from datetime import datetime

from sqlalchemy import Connection, select

from serai.identity import one_time_links
from serai.identity.bootstrap import unclaimed_admin
from serai.store.secrets import Vault
from serai.store.tables.identity import users


class NoSuchUser(Exception):
    """No user, or more than one, is meant; the message says what to do."""


def recovery_link(
    conn: Connection, vault: Vault, email: str, account_id: str | None, origin: str, at: datetime
) -> str:
    """A one-time link for a password; for the first admin without one, the link that sets up.

    Raises:
        NoSuchUser: nobody has that address, or several accounts know it.
    """
    query = select(users.c.id, users.c.account_id).where(users.c.email == email.strip().lower())
    if account_id is not None:
        query = query.where(users.c.account_id == account_id)
    found = list(conn.execute(query.order_by(users.c.created_at)))
    if not found:
        raise NoSuchUser(f"there is no user with the address {email[:80]!r}.")
    if len(found) > 1:
        known = ", ".join(row.account_id for row in found)
        raise NoSuchUser(f"several accounts know {email[:80]!r}: choose with --account: {known}.")
    first = unclaimed_admin(conn)
    is_first = first is not None and first.id == found[0].id
    purpose: one_time_links.Purpose = "setup" if is_first else "reset"
    return one_time_links.make(conn, vault, purpose, found[0].id, origin, at)
