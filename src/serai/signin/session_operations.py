"""The caller's browser sessions over the API; an extension of ours."""

from typing import Any

from litestar import Response, delete, get
from litestar.types import ControllerRouterHandler
from sqlalchemy import Connection

from serai.api.exchange import AnyRequest
from serai.identity import sign_ins
from serai.identity.caller import caller_of
from serai.identity.context import IdentityContext
from serai.identity.operations.answers import answer
from serai.identity.principal import Principal
from serai.kernel.clock import now
from serai.kernel.errors import Forbidden, NotFound
from serai.signin.journal import note, person_of
from serai.wire.identity import BrowserSession

PATH = "/v0/profile/sessions"


def session_operations(context: IdentityContext) -> list[ControllerRouterHandler]:
    """List one's sessions, and end one."""

    @get(PATH, operation_id="ListProfileSessions", opt={"answer": list[BrowserSession]})
    async def list_sessions(request: AnyRequest) -> Response[bytes]:
        """The browsers in which the caller is signed in"""
        user_id = _user(caller_of(request).principal)

        def read(conn: Connection) -> list[BrowserSession]:
            return [_shown(row) for row in sign_ins.listing(conn, user_id, now())]

        return answer(await context.db.read(read))

    @delete(
        PATH + "/{session_id:str}",
        status_code=200,
        operation_id="DeleteProfileSession",
        opt={"answer": BrowserSession},
    )
    async def delete_session(request: AnyRequest, session_id: str) -> Response[bytes]:
        """End a browser session, and what was let in from it"""
        user_id = _user(caller_of(request).principal)

        def end(conn: Connection) -> BrowserSession:
            rows = sign_ins.listing(conn, user_id, now())
            found = next((row for row in rows if row.id == session_id), None)
            person = person_of(conn, user_id)
            if found is None or person is None:
                raise NotFound(
                    f"There is no session with id {session_id[:80]!r}.", code="SESSION_NOT_FOUND"
                )
            sign_ins.end(conn, user_id, session_id)
            note(conn, person, "end_session", target=session_id)
            return _shown(found)

        return answer(await context.write(end))

    return [list_sessions, delete_session]


def _user(caller: Principal) -> str:
    if caller.kind != "user":
        raise Forbidden("A service account signs in nowhere: it has no browser sessions.")
    return caller.subject


def _shown(row: Any) -> BrowserSession:
    return BrowserSession(
        id=row.id,
        method=row.method,
        address=row.address,
        user_agent=row.user_agent,
        created_at=row.created_at,
        last_seen_at=row.last_seen_at,
        expires_at=row.expires_at,
    )
