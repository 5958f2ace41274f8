"""Access tokens: JWTs that this server signs and believes, in the profile of RFC 9068."""

import base64
from datetime import datetime, timedelta
from typing import TypeVar

import msgspec
from joserfc import jwt
from joserfc.errors import JoseError

from serai.identity.grants import Grant
from serai.identity.signing_keys import ALGORITHM, TOKEN_LIFE, KeyRing
from serai.kernel.errors import AuthenticationFailed
from serai.kernel.ids import new_uuid

SECONDS = int(TOKEN_LIFE.total_seconds())
TYPE = "at+jwt"
LEEWAY = timedelta(seconds=30)
"""How much the clock of another process of this installation may differ from ours."""
REFUSED = "This access token is not valid here: get a new one, for example with `bl login`."
Part = TypeVar("Part")
EXPIRED = "This access token has expired: refresh it, or sign in again."


class Claims(msgspec.Struct, frozen=True, kw_only=True):
    """What an access token says; ``sid`` is its grant. Times are seconds since 1970."""

    iss: str
    aud: str | list[str]
    sub: str
    exp: float
    iat: float
    sid: str
    jti: str
    client_id: str
    scope: str = ""
    workspace: str = ""
    nbf: float = 0


class AccessTokens:
    """Issues and checks access tokens.

    Args:
        ring: the signing keys.
        issuer: our identifier as an OpenID provider, a URL.
        audience: what the tokens are for: the origin of the APIs.
    """

    def __init__(self, ring: KeyRing, issuer: str, audience: str) -> None:
        self.ring = ring
        self.issuer = issuer
        self.audience = audience

    def issue(self, grant: Grant, scope: str, at: datetime) -> str:
        """A token of a grant, with (part of) its scope, good for two hours."""
        moment = int(at.timestamp())
        claims = {
            "iss": self.issuer,
            "aud": self.audience,
            "sub": grant.subject,
            "client_id": grant.client_id,
            "iat": moment,
            "exp": moment + SECONDS,
            "jti": new_uuid(),
            "sid": grant.id,
            "scope": scope,
            "workspace": grant.workspace,
        }
        return self.sign(claims, TYPE, at)

    def sign(self, claims: dict[str, object], kind: str, at: datetime) -> str:
        """Sign any claims; ``kind`` becomes the ``typ`` of the header."""
        key = self.ring.signing(at)
        header = {"alg": ALGORITHM, "kid": key.kid, "typ": kind}
        return jwt.encode(header, claims, key.key, algorithms=[ALGORITHM])

    def check(self, token: str, at: datetime) -> Claims:
        """What a token says, if we signed it for us and it is its time.

        Raises:
            AuthenticationFailed: any other token; says no more than whether it has expired.
        """
        claims = self._decode(token)
        moment = at.timestamp()
        if claims is None or not self._is_of_ours(claims):
            raise AuthenticationFailed(REFUSED)
        if max(claims.iat, claims.nbf) > moment + LEEWAY.total_seconds():
            raise AuthenticationFailed("This access token is not valid yet.")
        if claims.exp <= moment:
            raise AuthenticationFailed(EXPIRED, code="TOKEN_EXPIRED")
        return claims

    def _is_of_ours(self, claims: Claims) -> bool:
        audience = [claims.aud] if isinstance(claims.aud, str) else claims.aud
        ours = claims.iss == self.issuer and self.audience in audience
        return ours and claims.exp <= claims.iat + SECONDS

    def _decode(self, token: str) -> Claims | None:
        try:
            header = _decoded(token.partition(".")[0], _Header)
            key = self.ring.verifying(header.kid)
            if key is None or header.alg != ALGORITHM or header.typ.lower() != TYPE:
                return None
            decoded = jwt.decode(token, key, algorithms=[ALGORITHM])
            return msgspec.convert(decoded.claims, Claims)
        except (JoseError, ValueError, TypeError, msgspec.MsgspecError):
            return None


class _Issued(msgspec.Struct, frozen=True):
    iss: str


class _Header(msgspec.Struct, frozen=True):
    kid: str
    alg: str
    typ: str = ""


def claimed_issuer(token: str) -> str | None:
    """Who a JWT says that it is from, which anybody may say; ``None`` when it is no JWT."""
    try:
        return _decoded(token.split(".")[1], _Issued).iss
    except (IndexError, ValueError, msgspec.MsgspecError):
        return None


def _decoded(text: str, shape: type[Part]) -> Part:
    raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    return msgspec.json.decode(raw, type=shape)
