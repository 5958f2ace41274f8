"""Access for the console: a grant of its own for each browser session, which ends with it."""

from datetime import datetime

import msgspec
from sqlalchemy import Connection

from serai.api.exchange import Origin
from serai.identity import grants
from serai.identity.access_tokens import SECONDS
from serai.identity.grants import Grant
from serai.identity.sign_ins import SignIn
from serai.oauth import scopes, trail
from serai.oauth.clients import CONSOLE_ID
from serai.oauth.context import OAuth


class Access(msgspec.Struct, frozen=True, rename="camel"):
    """What the page gets: a bearer token, and for how many seconds it is good."""

    token: str
    expires_in: int


def access(
    conn: Connection, oauth: OAuth, sign_in: SignIn, workspace: str, at: datetime, origin: Origin
) -> Access:
    """A token for the person of a browser session; inside a write transaction."""
    grant = grants.of_sign_in(conn, sign_in.id, CONSOLE_ID, at)
    if grant is None:
        grant = _begin(conn, sign_in, workspace, at, origin)
    else:
        grants.use(conn, grant, at)
    return Access(oauth.tokens.issue(grant, grant.scope, at), SECONDS)


def _begin(
    conn: Connection, sign_in: SignIn, workspace: str, at: datetime, origin: Origin
) -> Grant:
    grant = grants.create(
        conn,
        at,
        client_id=CONSOLE_ID,
        user_id=sign_in.person.id,
        sign_in_id=sign_in.id,
        scope=scopes.with_role([]),
        workspace=workspace,
        user_agent=origin.user_agent,
        address=origin.client,
    )
    trail.note(conn, origin, grant, "grant")
    return grant
