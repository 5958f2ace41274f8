"""What is kept of the content of model calls: shapes, and redacted text under encryption."""

import asyncio
from collections import deque
from functools import partial
from typing import Any

import msgspec
import structlog
from sqlalchemy import Connection, select

from serai.kernel.clock import rfc3339
from serai.kernel.saving import keep_saving
from serai.metering.times import DAY, moment_of
from serai.store.database import Database
from serai.store.dialect import upsert_many
from serai.store.secrets import Vault
from serai.store.tables.requests import model_request_logs
from serai.telemetry.records import moment_ms
from serai.telemetry.redaction import Redactor
from serai.telemetry.shapes import answer_shape, read_json, request_shape
from serai.telemetry.streams import Told, put_together
from serai.wire.telemetry import ModelRequestLog

KEPT_BYTES = 64 * 1024
"""Most bytes that are kept of a request, and of an answer."""
HELD_BYTES = 32 * 1024 * 1024
"""Most bytes that wait to be written; what comes on top is counted and not kept."""
DAYS = 7
"""How long it is kept unless the model says otherwise."""
INTERVAL = 1.0
AT_ONCE = 50
log = structlog.get_logger(__name__)


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """The content of one call, as it passed.

    Attributes:
        workspace: whose model.
        resource_id: the model.
        number: of the call, see ``store.tables.requests``.
        request: the body that the provider got.
        answer: as much of the answer as was held, and its length.
        streamed: the answer is an event stream.
        content: keep the text too.
        days: for how long.
    """

    workspace: str
    resource_id: str
    number: int
    request: bytes
    answer: bytes
    answer_length: int
    streamed: bool
    content: bool
    days: int

    @property
    def size(self) -> int:
        """Bytes in memory."""
        return len(self.request) + len(self.answer)


class _Content(msgspec.Struct):
    request: str
    answer: str
    truncated: bool
    redactions: dict[str, int]


class RequestLogs:
    """Writes what is kept, and reads it. ``add`` from the event loop's thread only.

    Args:
        vault: seals it.
        most_days: how long the row of a call is kept, without which nobody finds the rest.
    """

    def __init__(self, vault: Vault, most_days: int) -> None:
        self.lost = 0
        """Calls whose content could not be kept, as too much waited."""
        self._vault = vault
        self._most_days = most_days
        self._waiting: deque[Kept] = deque()
        self._held = 0

    def add(self, kept: Kept) -> None:
        """Take the content of a call; it never blocks."""
        if self._held + kept.size > HELD_BYTES:
            self.lost += 1
            return
        self._held += kept.size
        self._waiting.append(kept)

    async def save(self, store: Database) -> int:
        """Write what waits, some at a time; returns how many.

        Raises:
            ServiceUnavailable: the database cannot be written; everything goes on waiting.
        """
        done = 0
        while self._waiting:
            batch = [self._waiting[at] for at in range(min(AT_ONCE, len(self._waiting)))]
            rows = await asyncio.to_thread(self._rows, batch)
            await store.write(partial(_write, rows))
            for kept in batch:
                self._waiting.popleft()
                self._held -= kept.size
            done += len(batch)
        return done

    async def run(self, store: Database) -> None:
        """Save each second until cancelled, then once more."""
        await keep_saving(
            "request_logs_wait", INTERVAL, lambda: self.save(store), lambda: len(self._waiting)
        )

    def _rows(self, batch: list[Kept]) -> list[tuple[Any, ...]]:
        rows = []
        for kept in batch:
            try:
                rows.append(self._row(kept))
            except Exception as problem:  # such as nesting deeper than anybody's messages
                log.warning("request_log_not_made", problem=type(problem).__name__)
                self.lost += 1  # it must not hold up others
        return rows

    def _row(self, kept: Kept) -> tuple[Any, ...]:
        told = put_together(kept.answer) if kept.streamed else None
        shape: dict[str, Any] = {"request": request_shape(kept.request)}
        text, tools = (told.text, told.tools) if told is not None else (None, ())
        shape["answer"] = answer_shape(kept.answer, text=text, tools=tools)
        shape["answer"]["bytes"] = kept.answer_length
        sealed = self._sealed(kept, told) if kept.content else None
        ends_at = moment_ms(kept.number) + min(kept.days, self._most_days) * DAY
        encoded = msgspec.json.encode(shape).decode()
        return kept.workspace, kept.number, kept.resource_id, ends_at, encoded, sealed

    def _sealed(self, kept: Kept, told: Told | None) -> bytes:
        redactor = Redactor()
        request = _redacted(redactor, kept.request)
        if told is None:
            answer = _redacted(redactor, kept.answer)
        else:
            said = {"text": told.text, "tools": told.tools, "arguments": told.arguments}
            answer = _encoded(redactor, {name: each for name, each in said.items() if each})
        cut = len(kept.answer) < kept.answer_length
        content = _Content(
            request=request[:KEPT_BYTES],
            answer=answer[:KEPT_BYTES],
            truncated=cut or len(request) > KEPT_BYTES or len(answer) > KEPT_BYTES,
            redactions=dict(redactor.found),
        )
        return self._vault.seal(msgspec.json.encode(content), _context(kept.workspace, kept.number))

    def find(self, conn: Connection, workspace: str, number: int) -> ModelRequestLog | None:
        """What was kept of a call; its request id is the caller's to fill in."""
        c = model_request_logs.c
        query = select(model_request_logs).where(c.workspace == workspace, c.number == number)
        row = conn.execute(query).first()
        if row is None:
            return None
        shown = ModelRequestLog(
            request_id="",
            time=rfc3339(moment_of(moment_ms(number))),
            ends_at=rfc3339(moment_of(row.ends_at)),
            shape=msgspec.json.decode(row.shape),
        )
        if row.sealed is None:
            return shown
        opened = self._vault.unseal(row.sealed, _context(workspace, number))
        content = msgspec.json.decode(opened, type=_Content)
        return msgspec.structs.replace(
            shown,
            request=content.request,
            answer=content.answer,
            truncated=content.truncated,
            redactions=content.redactions or None,
        )


def _context(workspace: str, number: int) -> str:
    return f"model request log/{workspace}/{number}"


def _redacted(redactor: Redactor, body: bytes) -> str:
    """A body as text: JSON is redacted string by string, as escapes would hide what is in it."""
    value = read_json(body)
    if value is not None:
        return _encoded(redactor, value)
    if body.lstrip()[:1] in (b"{", b"[") or b"\0" in body:
        return ""  # too long or broken JSON, whose escapes nobody has read; or no text at all
    return redactor.text(body[: KEPT_BYTES * 2].decode("utf-8", "replace"))


def _encoded(redactor: Redactor, value: Any) -> str:
    return msgspec.json.encode(redactor.value(value)).decode()


def _write(rows: list[tuple[Any, ...]], conn: Connection) -> None:
    upsert_many(conn, model_request_logs, rows, "set")
