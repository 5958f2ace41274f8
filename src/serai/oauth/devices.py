"""Sign-in of devices without a browser (RFC 8628): a code to poll with, a code to type in.

Authlib calls some methods of ``Device`` by name (its ``DeviceCredentialMixin``).
"""

import re
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import Connection, delete, func, insert, select, update

from serai.kernel.clock import now, parse_rfc3339, rfc3339
from serai.kernel.errors import Conflict
from serai.store.secrets import Vault
from serai.store.tables.oauth import device_codes as table

PREFIX = "bld_"
LIFETIME = timedelta(minutes=10)
KEPT = timedelta(days=1)
"""How long a code is remembered after its end, so that a replay is seen as one."""
INTERVAL = 3
"""Seconds between polls, as told to clients; what one official client does whatever it is told."""
TOO_FAST = timedelta(seconds=1)
WAITING_MAX = 100
"""How many codes may wait for an answer that were asked for from one address."""
NO_LETTERS = re.compile(r"[^A-Z]")


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """A device that asks to act for somebody; ``status`` is pending, approved, denied or used."""

    digest: bytes
    user_code: str
    client_id: str
    scope: str
    status: str
    user_id: str | None
    sign_in_id: str | None
    workspace: str | None
    bound: bool
    user_agent: str
    address: str
    created_at: str
    expires_at: str
    auth_time: int | None
    polled_at: str | None

    def get_client_id(self) -> str:
        """The client that asks."""
        return self.client_id

    def get_scope(self) -> str:
        """What it asks for."""
        return self.scope

    def get_user_code(self) -> str:
        """What its owner types in."""
        return self.user_code

    def is_expired(self) -> bool:
        """Looked at before, with the clock of the transaction."""
        return False


def start(conn: Connection, row: dict[str, Any], at: datetime) -> None:
    """Store a device code; ``row`` has its digests, client, scope and origin."""
    moments = {"created_at": rfc3339(at), "expires_at": rfc3339(at + LIFETIME)}
    conn.execute(insert(table).values(**row, **moments, status="pending"))


def find(conn: Connection, user_code: str, at: datetime) -> Device | None:
    """The device that waits for an answer under a code, however that is typed."""
    letters = NO_LETTERS.sub("", user_code.upper())
    c = table.c
    wanted = (c.user_code == f"{letters[:4]}-{letters[4:]}", c.status == "pending")
    return _one(conn, *wanted, c.expires_at > rfc3339(at))


def find_by_code(conn: Connection, vault: Vault, device_code: str) -> Device | None:
    """The device with that secret, expired ones too."""
    return _one(conn, table.c.digest == vault.digest(device_code))


def approve(
    conn: Connection,
    device: Device,
    *,
    user_id: str,
    sign_in_id: str | None,
    auth_time: int,
    workspace: str,
    bound: bool,
    at: datetime,
) -> None:
    """Let a device act for somebody, in a workspace; with ``bound`` in no other one.

    Raises:
        Conflict: it was answered meanwhile, or has stopped waiting.
    """
    who = {"user_id": user_id, "sign_in_id": sign_in_id, "auth_time": auth_time}
    _answer(conn, device, at, status="approved", workspace=workspace, bound=bound, **who)


def deny(conn: Connection, device: Device) -> None:
    """Refuse a device.

    Raises:
        Conflict: it was answered meanwhile, or has stopped waiting.
    """
    _answer(conn, device, now(), status="denied")


def use(conn: Connection, device: Device) -> None:
    """Mark a code as used for a grant."""
    conn.execute(update(table).where(table.c.digest == device.digest).values(status="used"))


def polled_too_fast(conn: Connection, device: Device, at: datetime) -> bool:
    """Note a poll; whether it came far sooner after the last one than clients are told."""
    mine = table.c.digest == device.digest
    conn.execute(update(table).where(mine).values(polled_at=rfc3339(at)))
    return device.polled_at is not None and at - parse_rfc3339(device.polled_at) < TOO_FAST


def waiting(conn: Connection, address: str, at: datetime) -> int:
    """How many codes wait that were asked for from an address."""
    c = table.c
    wanted = (c.address == address, c.status == "pending", c.expires_at > rfc3339(at))
    return int(conn.execute(select(func.count()).where(*wanted)).scalar_one())


def is_taken(conn: Connection, user_code: str) -> bool:
    """Whether somebody has that user code."""
    return _one(conn, table.c.user_code == user_code) is not None


def prune(conn: Connection, at: datetime) -> int:
    """Forget codes that ended a while ago; returns how many."""
    return conn.execute(delete(table).where(table.c.expires_at < rfc3339(at - KEPT))).rowcount


def _one(conn: Connection, *wanted: Any) -> Device | None:
    columns: list[Any] = [table.c[name] for name in Device.__struct_fields__]
    row = conn.execute(select(*columns).where(*wanted).with_for_update()).one_or_none()
    return None if row is None else Device(**row._mapping)


def _answer(conn: Connection, device: Device, at: datetime, **values: Any) -> None:
    c = table.c
    waits = (c.digest == device.digest, c.status == "pending", c.expires_at > rfc3339(at))
    if not conn.execute(update(table).where(*waits).values(values)).rowcount:
        raise Conflict("This code was answered already, or has expired: start again on the device.")
