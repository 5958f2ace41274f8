"""Signing in at an upstream OpenID provider."""

import base64
import hmac
import secrets

import msgspec
from litestar import Response
from sqlalchemy import Connection

from serai.identity import upstream_identities
from serai.identity.upstream_identities import Admission
from serai.kernel.clock import now
from serai.kernel.errors import BadRequest, SeraiError
from serai.signin.entering import proved
from serai.signin.provider import Provider
from serai.signin.redirects import HOME, local_path
from serai.signin.site import Visit

START = "/login/upstream"
CALLBACK = "/login/upstream/callback"
SECONDS = 600
GOAL_MAX = 1500
"""Longer goals do not fit into the cookie; the person lands on their account page."""
STRAY = "This answer belongs to no sign-in that began in this browser: begin again."
CONTEXT = "upstream-sign-in"


class Journey(msgspec.Struct, frozen=True):
    """A sign-in elsewhere under way; sealed in a cookie."""

    state: str
    nonce: str
    verifier: str
    next: str
    until: float


class Upstream:
    """The two pages of it."""

    def __init__(self, provider: Provider, admission: Admission) -> None:
        self.provider = provider
        self.admission = admission

    async def start(self, visit: Visit) -> Response[bytes]:
        """``GET /login/upstream``: go there."""
        goal = local_path(visit.query("next"))
        journey = Journey(
            state=secrets.token_urlsafe(24),
            nonce=secrets.token_urlsafe(24),
            verifier=secrets.token_urlsafe(48),
            next=goal if len(goal) <= GOAL_MAX else HOME,
            until=now().timestamp() + SECONDS,
        )
        target = await self.provider.authorization_url(
            journey.state, journey.nonce, journey.verifier
        )
        sealed = visit.site.vault.seal(msgspec.json.encode(journey), CONTEXT)
        cookie = base64.urlsafe_b64encode(sealed).decode()
        visit.keep(visit.site.cookies.upstream, cookie, SECONDS)
        return visit.redirect(target)

    async def finish(self, visit: Visit) -> Response[bytes]:
        """``GET /login/upstream/callback``: come back."""
        journey = _journey(visit)
        visit.keep(visit.site.cookies.upstream, "", 0)
        if not hmac.compare_digest(journey.state.encode(), visit.query("state").encode()):
            raise BadRequest(STRAY)
        if visit.query("iss") not in {"", self.provider.issuer}:
            raise BadRequest(STRAY)
        if visit.query("error") or not visit.query("code"):
            raise BadRequest("The identity provider did not sign you in: begin again.")
        identity = await self.provider.redeem(visit.query("code"), journey.verifier, journey.nonce)

        def admit(conn: Connection) -> str:
            return upstream_identities.user_of(conn, identity, self.admission, now())

        user_id = await visit.site.identity.write(admit)
        return await proved(visit, user_id, "upstream", journey.next)


def _journey(visit: Visit) -> Journey:
    cookie = visit.cookies.get(visit.site.cookies.upstream, "")
    try:
        raw = visit.site.vault.unseal(base64.urlsafe_b64decode(cookie), CONTEXT)
        journey = msgspec.json.decode(raw, type=Journey)
    except (ValueError, SeraiError):
        raise BadRequest(STRAY) from None
    if journey.until < now().timestamp():
        raise BadRequest("Signing in took too long: begin again.")
    return journey
