"""The second factor: time-based codes (RFC 6238) from an authenticator app, and recovery codes.

Codes have 6 digits, SHA-1 and 30 seconds, which every app knows. One step early or late is
accepted for the sake of slow clocks; no code counts twice.
"""

import base64
import secrets
from datetime import datetime
from typing import Any
from urllib.parse import quote

import msgspec
from cryptography.hazmat.primitives.constant_time import bytes_eq
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP
from sqlalchemy import Connection, delete, insert, select, update

from serai.kernel.clock import rfc3339
from serai.kernel.errors import BadRequest, Conflict
from serai.store.secrets import Vault
from serai.store.tables.sign_in import second_factors as table

STEP_SECONDS = 30
DIGITS = 6
SECRET_BYTES = 20
DRIFT = (-1, 0, 1)
RECOVERY_CODES = 10
RECOVERY_ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"
WRONG = "That code is not right. Type the one that the app shows now; each works once."


def begin(conn: Connection, vault: Vault, user_id: str) -> bytes:
    """A secret for an app; it counts once a code of it was shown. Unconfirmed ones are kept.

    Raises:
        Conflict: there is a confirmed one.
    """
    row = find(conn, user_id)
    if row is not None and row.confirmed_at is not None:
        raise Conflict("The second factor is on already.")
    if row is not None:
        return vault.unseal(row.sealed, _context(user_id))
    secret = secrets.token_bytes(SECRET_BYTES)
    sealed = vault.seal(secret, _context(user_id))
    row = {"user_id": user_id, "sealed": sealed, "last_step": 0, "recovery": "[]"}
    conn.execute(insert(table).values(row))
    return secret


def confirm(conn: Connection, vault: Vault, user_id: str, code: str, at: datetime) -> list[str]:
    """Turn the second factor on; returns the recovery codes, which are nowhere else.

    Raises:
        BadRequest: the code is wrong.
        Conflict: nothing was begun, or it is on already.
    """
    row = find(conn, user_id)
    if row is None or row.confirmed_at is not None:
        raise Conflict("There is no second factor to turn on: begin again.")
    if not _take_step(conn, vault, row, code, at):
        raise BadRequest(WRONG)
    conn.execute(update(table).where(table.c.user_id == user_id).values(confirmed_at=rfc3339(at)))
    return renew_recovery(conn, vault, user_id)


def find(conn: Connection, user_id: str) -> Any | None:
    """The row of a user's second factor, confirmed or not."""
    return conn.execute(select(table).where(table.c.user_id == user_id)).one_or_none()


def is_on(conn: Connection, user_id: str) -> bool:
    """Whether signing in takes a code."""
    row = find(conn, user_id)
    return row is not None and row.confirmed_at is not None


def accept(conn: Connection, vault: Vault, user_id: str, code: str, at: datetime) -> str | None:
    """Use up a code: ``app`` or ``recovery`` says what it was, ``None`` that it is not right."""
    row = find(conn, user_id)
    if row is None or row.confirmed_at is None:
        return None
    plain = "".join(code.split()).replace("-", "").lower()
    if _take_step(conn, vault, row, plain, at):
        return "app"
    return "recovery" if _take_recovery(conn, vault, row, plain) else None


def renew_recovery(conn: Connection, vault: Vault, user_id: str) -> list[str]:
    """New recovery codes; the old ones are void. Each has 49 bits and works once."""
    plain = [
        "".join(secrets.choice(RECOVERY_ALPHABET) for _ in range(10)) for _ in range(RECOVERY_CODES)
    ]
    _keep_recovery(conn, user_id, [_digest(vault, user_id, code) for code in plain])
    return [f"{code[:5]}-{code[5:]}" for code in plain]


def recovery_left(row: Any) -> int:
    """How many recovery codes are unused."""
    return len(msgspec.json.decode(row.recovery))


def remove(conn: Connection, user_id: str) -> bool:
    """Turn the second factor off; whether it was on or begun."""
    return conn.execute(delete(table).where(table.c.user_id == user_id)).rowcount > 0


def shown(secret: bytes) -> str:
    """A secret in groups of four, for typing into an app."""
    text = base64.b32encode(secret).decode().rstrip("=")
    return " ".join(text[start : start + 4] for start in range(0, len(text), 4))


def uri(secret: bytes, email: str, issuer: str) -> str:
    """The ``otpauth:`` link that an app reads from a picture."""
    text = base64.b32encode(secret).decode().rstrip("=")
    label = quote(f"{issuer}:{email}", safe="")
    return f"otpauth://totp/{label}?secret={text}&issuer={quote(issuer, safe='')}"


def _take_step(conn: Connection, vault: Vault, row: Any, code: str, at: datetime) -> bool:
    step = _step_of(vault.unseal(row.sealed, _context(row.user_id)), code, at)
    if step is None:
        return False
    unused = (table.c.user_id == row.user_id, table.c.last_step < step)
    return conn.execute(update(table).where(*unused).values(last_step=step)).rowcount == 1


def _step_of(secret: bytes, code: str, at: datetime) -> int | None:
    """The time step that a code belongs to."""
    if len(code) != DIGITS or not (code.isascii() and code.isdigit()):
        return None
    totp = TOTP(secret, DIGITS, SHA1(), STEP_SECONDS)  # noqa: S303 - what RFC 6238 and apps use
    now = int(at.timestamp()) // STEP_SECONDS
    steps = [now + drift for drift in DRIFT]
    right = [step for step in steps if bytes_eq(totp.generate(step * STEP_SECONDS), code.encode())]
    return max(right, default=None)


def _take_recovery(conn: Connection, vault: Vault, row: Any, code: str) -> bool:
    digest, left = _digest(vault, row.user_id, code), msgspec.json.decode(row.recovery)
    if digest not in left:
        return False
    left.remove(digest)
    unchanged = (table.c.user_id == row.user_id, table.c.recovery == row.recovery)
    values = {"recovery": msgspec.json.encode(left).decode()}
    return conn.execute(update(table).where(*unchanged).values(values)).rowcount == 1


def _keep_recovery(conn: Connection, user_id: str, digests: list[str]) -> None:
    text = msgspec.json.encode(digests).decode()
    conn.execute(update(table).where(table.c.user_id == user_id).values(recovery=text))


def _digest(vault: Vault, user_id: str, code: str) -> str:
    return vault.digest(f"recovery:{user_id}:{code}").hex()


def _context(user_id: str) -> str:
    return f"second-factor:{user_id}"
