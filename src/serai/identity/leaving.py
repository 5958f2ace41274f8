"""What ends when somebody loses access: at once, and in the transaction that takes it away."""

from sqlalchemy import Connection, delete, select

from serai.identity import api_keys, grants, sign_ins
from serai.identity.api_keys import Holder
from serai.store.reach import unbounded
from serai.store.tables.identity import memberships, users
from serai.store.tables.oauth import device_codes, oauth_codes


@unbounded("which workspaces somebody who loses one still has is not for the remover to know")
def lose_access(conn: Connection, user_id: str) -> None:
    """End what a user let in to workspaces they have no more; without any, the user goes.

    An admin of the account has all its workspaces.
    """
    if conn.execute(select(users.c.account_admin).where(users.c.id == user_id)).scalar():
        return
    granted = select(memberships.c.workspace).where(memberships.c.user_id == user_id)
    left = list(conn.execute(granted).scalars())
    grants.revoke_bound_elsewhere(conn, user_id, left)
    _drop_waiting(conn, user_id)
    if not left:
        _remove(conn, user_id)


def close_workspace(conn: Connection, workspace: str) -> None:
    """End every grant that is for a workspace alone, which is about to go."""
    grants.revoke_of_workspace(conn, workspace)


def _remove(conn: Connection, user_id: str) -> None:
    """Delete a user with keys, sessions and grants; password and second factor go with them."""
    sign_ins.end_all(conn, user_id)
    api_keys.drop_all(conn, Holder("user", user_id))
    conn.execute(delete(users).where(users.c.id == user_id))


def _drop_waiting(conn: Connection, user_id: str) -> None:
    """Forget approvals that no client has collected yet: asking again shows what is left."""
    codes = oauth_codes.c
    unused = (codes.user_id == user_id, codes.used_at.is_(None))
    conn.execute(delete(oauth_codes).where(*unused))
    conn.execute(delete(device_codes).where(device_codes.c.user_id == user_id))
