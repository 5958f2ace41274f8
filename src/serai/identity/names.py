"""Which names a workspace may not have, and why."""

import re

import msgspec

from serai.kernel.errors import BadRequest
from serai.kernel.names import check_name
from serai.wire.identity import UnavailableReason

VERSION_LIKE = re.compile(r"v[0-9]")
OURS = frozenset(
    {
        "account",
        "accounts",
        "admin",
        "all",
        "availability",
        "internal",
        "localhost",
        "me",
        "profile",
        "serai",
        "system",
        "workspaces",
        "www",
    }
)
"""Names that people or routes would take for something else."""


class Refusal(msgspec.Struct, frozen=True):
    """Why nobody can have a name."""

    reason: UnavailableReason
    message: str


class NameRules(msgspec.Struct, frozen=True):
    """The rules of workspace names; ``reserved`` are the first path segments of the server."""

    reserved: frozenset[str] = frozenset()

    def refusal(self, name: str) -> Refusal | None:
        """Why nobody can have a well-formed name, if so.

        Raises:
            BadRequest: it is not even well-formed.
        """
        check_name(name, "name")
        if "blaxel" in name:
            return Refusal("forbidden_blaxel", f"{name!r} contains 'blaxel', another's name.")
        if VERSION_LIKE.match(name):
            return Refusal("forbidden_v_prefix", f"{name!r} looks like the version of an API.")
        if name in self.reserved or name in OURS:
            return Refusal("forbidden_reserved", f"{name!r} is a path or word of the platform.")
        return None

    def check(self, name: str) -> str:
        """The name itself when a workspace may have it.

        Raises:
            BadRequest: it breaks a rule; ``details.reason`` is the machine's word for which.
        """
        refusal = self.refusal(name)
        if refusal is None:
            return name
        raise BadRequest(
            f"name: {refusal.message} Choose another one.",
            code="WORKSPACE_NAME_FORBIDDEN",
            details={"reason": refusal.reason},
        )
