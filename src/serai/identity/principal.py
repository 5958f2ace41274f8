"""The authenticated caller."""

from collections.abc import Mapping
from typing import Literal, Protocol

import msgspec


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """Who is calling, as verified from a credential. Held in memory, never sent.

    Attributes:
        subject: id of the user, or client id of the service account.
        email: the user's address, or the service account's name.
        account_id: the account the credential belongs to, and all its workspaces with it.
        account_admin: may see billing and every workspace of the account.
        workspaces: workspace name to role (``admin`` or ``member``); an account admin is admin
            of every workspace of the account. A grant that is bound to one has no other.
        credential_id: id of the API key or grant, for audit and revocation.
        kind: a person or a machine.
        credential: what the caller presented.
        scopes: what the credential may be used for; ``None`` for all that the role allows.
        home: the workspace that a request is about when it names none (``None``: the only one).
    """

    subject: str
    email: str
    account_id: str
    account_admin: bool
    workspaces: Mapping[str, str]
    credential_id: str
    kind: Literal["user", "service_account"] = "user"
    credential: Literal["api_key", "access_token"] = "api_key"
    scopes: frozenset[str] | None = None
    home: str | None = None

    def lacks(self, needed: frozenset[str]) -> frozenset[str]:
        """Those of the needed scopes that the credential does not have."""
        if self.scopes is None or "admin" in self.scopes:
            return frozenset()
        return needed - self.scopes


class Authenticator(Protocol):
    """Turns a presented secret into a Principal."""

    def cached(self, token: str) -> Principal | None:
        """The principal when it was verified recently and not revoked since; never blocks."""

    async def verify(self, token: str) -> Principal:
        """Verify a secret.

        Raises:
            AuthenticationFailed: malformed, unknown, expired or revoked.
        """

    def recognizes(self, token: str) -> bool:
        """Whether a string is, by its form, a credential of this installation; never blocks.

        Such a string must not reach a workload, whether it is valid or not.
        """

    async def contradicts(self, principal: Principal, other: str) -> bool:
        """Whether a second credential of the same request is somebody else's.

        A string that is no valid credential here contradicts nothing: it may be meant for the
        workload behind us.
        """
