"""The outbox of mail: rows that are deleted when the server has taken them."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from email.message import EmailMessage
from typing import Any

import msgspec
import structlog
from sqlalchemy import Connection, delete, func, insert, select, update

from serai.kernel.clock import now, parse_rfc3339, rfc3339
from serai.kernel.ids import new_uuid
from serai.mail.delivery import NeverTaken
from serai.mail.message import Mail, rendered
from serai.store.database import Database
from serai.store.reach import unbounded
from serai.store.secrets import Vault
from serai.store.tables.mail import mails as table

HandOver = Callable[[EmailMessage], None]
"""Gives a mail to a server, in a thread; see ``delivery.hand_over``."""
ATTEMPT = timedelta(minutes=2)
"""Longer than any attempt takes: after it a mail whose attempt a crash cut off is tried again."""
FIRST_WAIT, LONGEST_WAIT = timedelta(seconds=2), timedelta(minutes=15)
KEPT = timedelta(days=2)
LOOK_SECONDS = 60.0
log = structlog.get_logger(__name__)


class Mailer:
    """Writes mail down, and hands it over in the background.

    Args:
        db: where it waits.
        vault: seals it, as it may hold a secret link.
        sender: the ``From`` of all mail.
        hand_over: gives one mail to the server.
    """

    def __init__(self, db: Database, vault: Vault, sender: str, hand_over: HandOver) -> None:
        self._db = db
        self._vault = vault
        self._sender = sender
        self._hand_over = hand_over
        self._news = asyncio.Event()

    def write(self, conn: Connection, mail: Mail) -> None:
        """Put a mail into the outbox, in the transaction of what it tells; then call ``wake``."""
        mail_id, moment = new_uuid(), rfc3339(now())
        rendered(mail, self._sender, mail_id, moment)
        sealed = self._vault.seal(msgspec.json.encode(mail), _context(mail_id))
        row = {"id": mail_id, "sealed": sealed, "created_at": moment, "next_at": moment}
        conn.execute(insert(table).values(row | {"attempts": 0}))

    async def send(self, mail: Mail) -> None:
        """Write a mail in a transaction of its own, and hand it over soon."""
        await self._db.write(lambda conn: self.write(conn, mail))
        self.wake()

    def wake(self) -> None:
        """There may be mail."""
        self._news.set()

    async def run(self) -> None:
        """Hand over what waits, until cancelled."""
        while True:
            self._news.clear()
            try:
                wait = await self._round()
            except Exception:
                log.exception("mail_failed")
                wait = LOOK_SECONDS
            try:
                await asyncio.wait_for(self._news.wait(), wait)
            except TimeoutError:
                pass

    async def _round(self) -> float:
        """Hand over what is due; returns for how many seconds nothing else will be."""
        while (row := await self._db.write(_claim)) is not None:
            await self._try(row)
        following = await self._db.read(lambda conn: conn.execute(select(_NEXT)).scalar())
        if following is None:
            return LOOK_SECONDS
        seconds = (parse_rfc3339(following) - now()).total_seconds()
        return min(max(seconds, 0.05), LOOK_SECONDS)

    async def _try(self, row: Any) -> None:
        mail = msgspec.json.decode(self._vault.unseal(row.sealed, _context(row.id)), type=Mail)
        try:
            message = rendered(mail, self._sender, row.id, row.created_at)
            await asyncio.to_thread(self._hand_over, message)
        except (NeverTaken, ValueError) as problem:
            log.error("mail_refused", to=mail.to, reason=str(problem))
        except OSError as problem:  # smtplib's own errors are OSErrors too
            await self._later(row, mail, str(problem) or type(problem).__name__)
            return
        else:
            log.info("mail_sent", to=mail.to, subject=mail.subject)
        await self._db.write(lambda conn: _drop(conn, row.id))

    async def _later(self, row: Any, mail: Mail, reason: str) -> None:
        moment = now()
        if parse_rfc3339(row.created_at) < moment - KEPT:
            log.error("mail_given_up", to=mail.to, reason=reason)
            await self._db.write(lambda conn: _drop(conn, row.id))
            return
        wait = min(FIRST_WAIT * 2 ** min(row.attempts, 12), LONGEST_WAIT)
        log.warning("mail_waits", to=mail.to, reason=reason, seconds=wait.total_seconds())
        await self._db.write(lambda conn: _put_off(conn, row.id, moment + wait))


_NEXT = func.min(table.c.next_at)


@unbounded("mail goes out whoever's it is")
def _claim(conn: Connection) -> Any:
    """The mail that waits the longest, kept from others for the time of an attempt."""
    c, moment = table.c, now()
    query = select(table).where(c.next_at <= rfc3339(moment)).order_by(c.next_at).limit(1)
    row = conn.execute(query).first()
    if row is not None:
        held = {"next_at": rfc3339(moment + ATTEMPT), "attempts": row.attempts + 1}
        conn.execute(update(table).where(c.id == row.id).values(held))
    return row


def _put_off(conn: Connection, mail_id: str, until: datetime) -> None:
    conn.execute(update(table).where(table.c.id == mail_id).values(next_at=rfc3339(until)))


def _drop(conn: Connection, mail_id: str) -> None:
    conn.execute(delete(table).where(table.c.id == mail_id))


def _context(mail_id: str) -> str:
    return f"mail/{mail_id}"
