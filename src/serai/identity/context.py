"""What the operations of identity share."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

import msgspec
from sqlalchemy import Connection

from serai.identity import changes
from serai.identity.authenticator import CredentialAuthenticator
from serai.identity.names import NameRules
from serai.mail.mailer import Mailer
from serai.store.database import Database
from serai.store.secrets import Vault

T = TypeVar("T")


class IdentityContext(msgspec.Struct, frozen=True):
    """The database and what verifies credentials.

    ``origin`` begins every link, ``names`` are the rules of workspace names and ``features`` the
    keys of what this installation has switched on; without a ``mailer`` links are shown instead.
    ``keep_secret`` is told workspace, id and secret of a service account's new key, and
    ``workspace_gone`` the name of a workspace that was deleted.
    """

    db: Database
    vault: Vault
    authenticator: CredentialAuthenticator
    origin: str
    names: NameRules
    features: tuple[str, ...]
    mailer: Mailer | None = None
    keep_secret: Callable[[Connection, str, str, str], None] | None = None
    workspace_gone: Callable[[str], None] = lambda _: None

    async def write(self, fn: Callable[[Connection], T]) -> T:
        """Change who may do what: once it is durable, no cached principal is believed any more.

        Also when the client has gone meanwhile: a revocation that was stored must be felt.
        """

        def change(conn: Connection) -> T:
            result = fn(conn)
            changes.note(conn)
            return result

        async def commit() -> T:
            result = await self.db.write(change)
            self.authenticator.forget()
            return result

        return await asyncio.shield(asyncio.ensure_future(commit()))
