"""Who may reach which drive over S3: the keys of service accounts, all drives of their workspace.

A client signs with the id of an API key as access key and with the key itself as secret; that is
the hosted service's way. Labels are not looked at: a service account has none.
"""

from collections.abc import Callable
from typing import Any

import msgspec
from sqlalchemy import Connection, Select, and_, delete, insert, or_, select

from serai.kernel.clock import now, rfc3339
from serai.resources import documents
from serai.storage.drives import DRIVES
from serai.store.reach import unbounded
from serai.store.secrets import Vault
from serai.store.tables.identity import api_keys, service_accounts
from serai.store.tables.s3 import s3_secrets as table


class Access(msgspec.Struct, frozen=True):
    """Secrets by access key, and the access keys of each drive by the drive's id."""

    secrets: dict[str, str]
    drives: dict[str, list[str]]


def s3_secrets(vault: Vault) -> Callable[[Connection, str, str, str], None]:
    """What remembers workspace, id and secret of a new key, so that it can be used for S3."""

    def keep(conn: Connection, workspace: str, key_id: str, secret: str) -> None:
        sealed = vault.seal(secret.encode(), _context(key_id))
        conn.execute(insert(table).values(key_id=key_id, workspace=workspace, sealed=sealed))

    return keep


@unbounded("the S3 server is one for all tenants; it tells each from the others by their keys")
def access(conn: Connection, vault: Vault) -> Access:
    """Everything that is allowed now; secrets of keys that have ended are forgotten."""
    secrets, workspaces = {}, {}
    for row in conn.execute(_living()):
        secrets[row.key_id] = vault.unseal(row.sealed, _context(row.key_id)).decode()
        workspaces[row.key_id] = row.workspace
    drives = {
        drive.id: sorted(key for key, place in workspaces.items() if place == drive.workspace)
        for drive in documents.every(conn, DRIVES.name)
    }
    return Access(secrets, drives)


def _living() -> Select[Any]:
    keys, accounts = api_keys.c, service_accounts.c
    return (
        select(table.c.key_id, table.c.sealed, accounts.workspace)
        .join(api_keys, keys.id == table.c.key_id)
        .join(service_accounts, accounts.client_id == keys.client_id)
        .where(
            and_(
                keys.revoked_at.is_(None),
                keys.scope.is_(None),
                or_(keys.expires_at.is_(None), keys.expires_at > rfc3339(now())),
            )
        )
    )


@unbounded("secrets of keys that have ended, of all tenants")
def forget_ended(conn: Connection) -> None:
    """Delete the secrets of keys that are gone or were revoked."""
    living = select(api_keys.c.id).where(api_keys.c.revoked_at.is_(None))
    conn.execute(delete(table).where(table.c.key_id.not_in(living)))


def _context(key_id: str) -> str:
    return f"s3-secret/{key_id}"
