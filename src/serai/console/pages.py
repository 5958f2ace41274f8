"""``/console``: the page of the application, with the session of who is signed in.

The token is part of the page, not an answer to a script: apps in previews may share our origin, and
could then ask as the console does. A page in a window of its own they cannot read: the site refuses
scripts and frames, and keeps its windows apart from others (``Cross-Origin-Opener-Policy``).
"""

from urllib.parse import urlsplit

import msgspec
from litestar import Response
from sqlalchemy import Connection

import serai
from serai.api.exchange import AnyRequest, current_origin
from serai.console.bundle import SESSION, Bundle
from serai.console.grant import Access, access
from serai.kernel.clock import now
from serai.oauth.context import OAuth
from serai.signin import workspaces
from serai.signin.site import HEADERS, Visit

NOT_BUILT = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Serai</title>
<h1>The console is not built yet</h1>
<p>Run <code>make console</code> in the checkout (it brings Node.js along), then reload this page.
Everything else works without it.</p></html>
"""
ASSET_HEADERS = {
    "Cache-Control": "public, max-age=31536000, immutable",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Vary": "Accept-Encoding",
}


class Profile(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Who is signed in."""

    id: str
    email: str
    name: str
    account_id: str
    account_admin: bool


class Session(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What the page knows from the start.

    Attributes:
        access: how it calls the API.
        profile: who is signed in.
        workspace: the one to show first.
        workspaces: all of theirs.
        origin: where clients reach this server.
        version: of the server.
        leave: what the form for signing out has to send.
    """

    access: Access
    profile: Profile
    workspace: str
    workspaces: list[str]
    origin: str
    version: str
    leave: str


class ConsolePages:
    """Handlers of the page and its files.

    Args:
        frames: sources of pages that it may show in frames: those of previews.
    """

    def __init__(self, oauth: OAuth, bundle: Bundle, frames: tuple[str, ...] = ()) -> None:
        self._oauth = oauth
        self._bundle = bundle
        self._policy = policy(oauth.origin, frames)

    async def page(self, visit: Visit) -> Response[bytes]:
        """The application, for whoever is signed in."""
        index = self._bundle.index()
        if index is None:
            return Response(NOT_BUILT.encode(), media_type="text/html", headers=HEADERS)
        if visit.sign_in is None:
            return visit.to_sign_in()
        session = await self._session(visit)
        data = msgspec.json.encode(session).decode().replace("<", "\\u003c")
        element = f'<script type="application/json" id="session">{data}</script>'
        return Response(
            index.replace(SESSION, element).encode(),
            media_type="text/html",
            headers=HEADERS | {"Content-Security-Policy": self._policy},
            cookies=list(visit.set_cookies.values()),
        )

    async def _session(self, visit: Visit) -> Session:
        person, me, origin = visit.person, visit.me, current_origin()

        def open_session(conn: Connection) -> tuple[Access, list[str]]:
            names = workspaces.names_of(conn, person.id)
            return access(conn, self._oauth, me, names[0], now(), origin), names

        given, names = await self._oauth.db.write(open_session)
        return Session(
            access=given,
            profile=Profile(
                id=person.id,
                email=person.email,
                name=person.name,
                account_id=person.account_id,
                account_admin=person.account_admin,
            ),
            workspace=names[0],
            workspaces=names,
            origin=self._oauth.origin,
            version=serai.__version__,
            leave=visit.form_token,
        )

    async def asset(self, request: AnyRequest, name: str) -> Response[bytes]:
        """One of its files, which never change under their name."""
        found = self._bundle.asset(name)
        if found is None:
            return Response(b"There is no such file.\n", media_type="text/plain", status_code=404)
        if "gzip" not in request.headers.get("accept-encoding", ""):
            return Response(found.content, media_type=found.media_type, headers=ASSET_HEADERS)
        headers = ASSET_HEADERS | {"Content-Encoding": "gzip"}
        return Response(found.packed, media_type=found.media_type, headers=headers)


def policy(origin: str, frames: tuple[str, ...]) -> str:
    """What the page may load and send: its own files, and calls of this server.

    Styles may stand in the page: the terminal makes some as it goes.
    """
    parts = urlsplit(origin)
    shown = " ".join(frames) or "'none'"
    sockets = f"{'wss' if parts.scheme == 'https' else 'ws'}://{parts.netloc}"
    return "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self' 'unsafe-inline'",
            "img-src 'self' data: blob:",
            "font-src 'self'",
            f"connect-src 'self' {sockets}",
            f"frame-src {shown}",
            "form-action 'self'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
        )
    )
