"""Usage that cannot be true: kept aside with an alarm, not counted and not forgotten."""

import msgspec
import structlog
from sqlalchemy import Connection, func, select

from serai.kernel.clock import millis, now
from serai.store.dialect import insert_new
from serai.store.tables.usage import usage_quarantine

log = structlog.get_logger(__name__)


def set_aside(conn: Connection, id_: str, reason: str, body: object) -> None:
    """Keep something that is not counted, once, and log an error about it."""
    text = msgspec.json.encode(body).decode() if not isinstance(body, str) else body
    row = {"id": id_, "received_at": millis(now()), "reason": reason, "body": text}
    if insert_new(conn, usage_quarantine, row):
        log.error("usage_set_aside", id=id_, reason=reason)


def count(conn: Connection) -> int:
    """How much is set aside."""
    return conn.execute(select(func.count()).select_from(usage_quarantine)).scalar_one()
