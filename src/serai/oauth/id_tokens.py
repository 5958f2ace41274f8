"""ID tokens: who signed in, when and how, for the application they signed in to."""

import base64
import hashlib
import re
from datetime import datetime

import msgspec
from sqlalchemy import Connection, select

from serai.identity.access_tokens import SECONDS, AccessTokens
from serai.identity.grants import Grant
from serai.store.tables.sign_in import sign_ins

METHODS = {"password": "pwd", "code": "otp"}
"""Steps of signing in to the words of RFC 8176; what an upstream provider asked for is its own."""


class SignIn(msgspec.Struct, frozen=True, kw_only=True):
    """When somebody proved who they are (seconds since 1970), and how."""

    auth_time: int
    nonce: str | None = None
    methods: tuple[str, ...] = ()


def id_token(
    tokens: AccessTokens, grant: Grant, sign_in: SignIn, access_token: str, at: datetime
) -> str:
    """An ID token (OpenID Connect Core, section 2) that goes with an access token."""
    moment = int(at.timestamp())
    half = hashlib.sha256(access_token.encode()).digest()[:16]
    claims: dict[str, object] = {
        "iss": tokens.issuer,
        "sub": grant.subject,
        "aud": grant.client_id,
        "iat": moment,
        "exp": moment + SECONDS,
        "auth_time": sign_in.auth_time,
        "at_hash": base64.urlsafe_b64encode(half).decode().rstrip("="),
        "sid": grant.id,
    }
    if sign_in.nonce is not None:
        claims["nonce"] = sign_in.nonce
    if sign_in.methods:
        claims["amr"] = list(sign_in.methods)
    return tokens.sign(claims, "JWT", at)


def methods_of(conn: Connection, sign_in_id: str | None) -> tuple[str, ...]:
    """How somebody signed in, in the words of RFC 8176; empty when nobody knows."""
    query = select(sign_ins.c.method).where(sign_ins.c.id == sign_in_id)
    method = conn.execute(query).scalar() if sign_in_id else None
    known = (METHODS.get(word) for word in re.split(r"\W+", method or ""))
    return tuple(dict.fromkeys(word for word in known if word))


def is_signed_in(conn: Connection, sign_in_id: str | None) -> bool:
    """Whether a browser session was not ended meanwhile; without one nothing can have ended."""
    if sign_in_id is None:
        return True
    query = select(sign_ins.c.id).where(sign_ins.c.id == sign_in_id)
    return conn.execute(query).first() is not None
