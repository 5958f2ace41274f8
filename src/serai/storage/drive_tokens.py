"""Access tokens of drives: short-lived JWTs (ES256) that anyone can check with our public key."""

import base64
import hashlib
import time
from typing import Any

import msgspec
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
)
from sqlalchemy import Connection, insert, select

from serai.kernel.clock import now, rfc3339
from serai.kernel.ids import new_uuid
from serai.store.database import Database
from serai.store.secrets import Vault
from serai.store.tables.storage import drive_keys
from serai.wire.storage import DriveAccessToken, DriveKey

LIFETIME_SECONDS = 3600
COORDINATE_BYTES = 32


class SigningKey(msgspec.Struct, frozen=True):
    """A private key, and how the public one is shown."""

    private: ec.EllipticCurvePrivateKey
    public: DriveKey


class DriveTokens:
    """Signs tokens; the key is made on first use and kept encrypted in the database."""

    def __init__(self, db: Database, vault: Vault, issuer: str) -> None:
        self._db = db
        self._vault = vault
        self._issuer = issuer
        self._key: SigningKey | None = None

    async def keys(self) -> list[DriveKey]:
        """The public keys that tokens are checked with."""
        return [(await self._signing_key()).public]

    async def issue(
        self, subject: str, workspace: str, drive: str, drive_id: str
    ) -> DriveAccessToken:
        """A token with which ``subject`` may use one drive for an hour."""
        key, issued = await self._signing_key(), int(time.time())
        header = {"alg": key.public.alg, "typ": "JWT", "kid": key.public.kid}
        claims = {
            "iss": self._issuer,
            "aud": "drives",
            "sub": subject,
            "workspace": workspace,
            "drive": drive,
            "drive_id": drive_id,
            "iat": issued,
            "nbf": issued,
            "exp": issued + LIFETIME_SECONDS,
            "jti": new_uuid(),
        }
        signed = f"{_part(header)}.{_part(claims)}"
        der = key.private.sign(signed.encode(), ec.ECDSA(hashes.SHA256()))
        token = f"{signed}.{_base64(b''.join(map(_coordinate, decode_dss_signature(der))))}"
        return DriveAccessToken(access_token=token, expires_in=LIFETIME_SECONDS)

    async def _signing_key(self) -> SigningKey:
        if self._key is None:
            self._key = await self._db.write(self._load_or_make)
        return self._key

    def _load_or_make(self, conn: Connection) -> SigningKey:
        c = drive_keys.c
        row = conn.execute(select(c.kid, c.sealed).order_by(c.created_at.desc())).first()
        if row is not None:
            private = load_der_private_key(self._vault.unseal(row.sealed, _context(row.kid)), None)
            assert isinstance(private, ec.EllipticCurvePrivateKey)
            return SigningKey(private, _shown(private))
        private = ec.generate_private_key(ec.SECP256R1())
        public = _shown(private)
        der = private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        values = {
            "kid": public.kid,
            "sealed": self._vault.seal(der, _context(public.kid)),
            "public": msgspec.json.encode(public).decode(),
            "created_at": rfc3339(now()),
        }
        conn.execute(insert(drive_keys).values(values))
        return SigningKey(private, public)


def _context(kid: str) -> str:
    return f"drive-key/{kid}"


def _shown(private: ec.EllipticCurvePrivateKey) -> DriveKey:
    """The public key as RFC 7517 writes it; its id is the thumbprint of RFC 7638."""
    numbers = private.public_key().public_numbers()
    x, y = _base64(_coordinate(numbers.x)), _base64(_coordinate(numbers.y))
    thumbprint = msgspec.json.encode({"crv": "P-256", "kty": "EC", "x": x, "y": y})
    kid = _base64(hashlib.sha256(thumbprint).digest())
    return DriveKey(kty="EC", crv="P-256", x=x, y=y, kid=kid, alg="ES256", use="sig")


def _coordinate(number: int) -> bytes:
    return number.to_bytes(COORDINATE_BYTES)


def _part(value: dict[str, Any]) -> str:
    return _base64(msgspec.json.encode(value))


def _base64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")
