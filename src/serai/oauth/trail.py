"""Grants in the audit log: given, and ended."""

from sqlalchemy import Connection

from serai.api.exchange import Origin
from serai.identity import accounts
from serai.identity.grants import Grant
from serai.resources import audit
from serai.resources.actor import Actor
from serai.resources.audit import Target

KIND = "oauth_grant"


def note(conn: Connection, origin: Origin, grant: Grant, action: str) -> None:
    """Write that a grant was given or ended by, or for, its holder.

    Args:
        conn: of the transaction of the change.
        origin: of the request.
        grant: the grant.
        action: ``grant``, ``revoke``, or ``reuse`` when a used token or code ended it.
    """
    holder = accounts.principal_of_grant(conn, grant, grant.scope)
    actor = Actor(
        workspace=grant.workspace,
        email=holder.email if holder else "",
        subject=grant.subject,
        credential=grant.id,
        account_id=holder.account_id if holder else "",
        origin=origin,
    )
    after = {"client": grant.client_id, "scope": grant.scope} if action == "grant" else None
    target = Target(kind=KIND, name=grant.client_id, id=grant.id)
    audit.record(conn, actor, action, target, after=after)
