"""Forgetting codes, devices, tokens and grants that ended a while ago."""

import asyncio
from datetime import datetime

import structlog
from sqlalchemy import Connection

from serai.identity import grants
from serai.kernel.clock import now
from serai.kernel.errors import ServiceUnavailable
from serai.oauth import codes, devices, refresh_tokens
from serai.store.database import Database

EVERY_SECONDS = 600.0
log = structlog.get_logger(__name__)


def prune(conn: Connection, at: datetime) -> int:
    """Forget what is spent; returns how many rows."""
    parts = (codes.prune, devices.prune, refresh_tokens.prune, grants.prune)
    return sum(part(conn, at) for part in parts)


async def keep_oauth(db: Database) -> None:
    """Prune now and then, until cancelled."""
    while True:
        await asyncio.sleep(EVERY_SECONDS)
        try:
            await db.write(lambda conn: prune(conn, now()))
        except ServiceUnavailable as problem:
            log.warning("pruning_waits", problem=problem.message)
