"""Secrets of a workspace: written, used by the platform, never shown.

Every write makes a new version; the newest one counts, a few older ones are kept.
"""

import re

import msgspec
from sqlalchemy import Connection, delete, func, insert, select

from serai.kernel.clock import now, rfc3339
from serai.kernel.errors import BadRequest, NotFound
from serai.store.secrets import Vault
from serai.store.tables.sharing import workspace_secrets
from serai.wire.catalog import Secret

NAME = re.compile(r"[^\s{}\x00-\x1f\x7f]{1,128}\Z")
VALUE_MAX_BYTES = 64 * 1024
VERSIONS_KEPT = 10
SECRETS_MAX = 1000


class SecretStore:
    """Methods run inside the caller's transaction."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    def upsert(self, conn: Connection, workspace: str, by: str, wanted: Secret) -> Secret:
        """Store a new version.

        Raises:
            BadRequest: the name or the value breaks a rule.
        """
        value = _check(wanted)
        c = workspace_secrets.c
        here = (c.workspace == workspace, c.name == wanted.name)
        last = conn.execute(select(func.max(c.version)).where(*here)).scalar() or 0
        if not last:
            self._refuse_too_many(conn, workspace)
        version = last + 1
        conn.execute(
            insert(workspace_secrets).values(
                workspace=workspace,
                name=wanted.name,
                version=version,
                sealed=self._vault.seal(value.encode(), _context(workspace, wanted.name, version)),
                created_at=rfc3339(now()),
                created_by=by,
            )
        )
        old = (*here, c.version <= version - VERSIONS_KEPT, c.version > 1)
        conn.execute(delete(workspace_secrets).where(*old))
        return self.need(conn, workspace, wanted.name)

    def listing(self, conn: Connection, workspace: str) -> list[Secret]:
        """All secrets by name, without their values."""
        c = workspace_secrets.c
        query = (
            select(c.name, func.min(c.created_at), func.max(c.created_at))
            .where(c.workspace == workspace)
            .group_by(c.name)
            .order_by(c.name)
        )
        return [
            Secret(name=name, created_at=first, updated_at=last)
            for name, first, last in conn.execute(query)
        ]

    def need(self, conn: Connection, workspace: str, name: str) -> Secret:
        """One secret without its value.

        Raises:
            NotFound: there is none of that name.
        """
        c = workspace_secrets.c
        query = select(func.min(c.created_at), func.max(c.created_at)).where(
            c.workspace == workspace, c.name == name
        )
        first, last = conn.execute(query).one()
        if first is None:
            raise NotFound(
                f"There is no secret named {name[:80]!r} in this workspace.",
                code="SECRET_NOT_FOUND",
            )
        return Secret(name=name, created_at=first, updated_at=last)

    def resolve(self, conn: Connection, workspace: str, name: str) -> str | None:
        """The newest value, for the platform itself; ``None`` when there is no such secret."""
        c = workspace_secrets.c
        query = (
            select(c.version, c.sealed)
            .where(c.workspace == workspace, c.name == name)
            .order_by(c.version.desc())
            .limit(1)
        )
        row = conn.execute(query).first()
        if row is None:
            return None
        return self._vault.unseal(row.sealed, _context(workspace, name, row.version)).decode()

    def drop(self, conn: Connection, workspace: str, name: str) -> Secret:
        """Delete every version; answers what there was.

        Raises:
            NotFound: there is none of that name.
        """
        found = self.need(conn, workspace, name)
        c = workspace_secrets.c
        conn.execute(delete(workspace_secrets).where(c.workspace == workspace, c.name == name))
        return found

    def _refuse_too_many(self, conn: Connection, workspace: str) -> None:
        c = workspace_secrets.c
        query = select(func.count(func.distinct(c.name))).where(c.workspace == workspace)
        if conn.execute(query).scalar_one() >= SECRETS_MAX:
            raise BadRequest(f"This workspace has {SECRETS_MAX} secrets, the most there may be.")


def _check(wanted: Secret) -> str:
    if not NAME.match(wanted.name):
        raise BadRequest(
            f"name {wanted.name[:80]!r} is not valid: use 1 to 128 characters without spaces, "
            "braces and control characters.",
            code="INVALID_NAME",
        )
    if not wanted.value:
        raise BadRequest("value is missing or empty: send the secret's value.")
    try:
        size = len(wanted.value.encode())
    except UnicodeEncodeError:
        raise BadRequest("value holds characters that are not valid Unicode.") from None
    if size > VALUE_MAX_BYTES:
        raise BadRequest(f"value has {size} bytes; at most {VALUE_MAX_BYTES}.")
    return wanted.value


def _context(workspace: str, name: str, version: int) -> str:
    return "secret/" + msgspec.json.encode([workspace, name, version]).decode()
