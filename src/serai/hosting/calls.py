"""Asynchronous calls: answered at once, made from rows, told about at the end.

A call that was begun when the platform was killed may have been made or not: nobody knows, and so
it is not made again, and reported as unknown.
"""

import asyncio
from datetime import datetime, timedelta

import msgspec
import structlog
from sqlalchemy import Connection

from serai.hosting import call_records as records
from serai.hosting.call_records import CallRow
from serai.hosting.callbacks import Callbacks, Untold
from serai.hosting.deployments import Deployment, Table, Trigger
from serai.hosting.messages import Answered, Asked, Callback
from serai.hosting.problems import WorkloadUnavailable
from serai.hosting.requesting import Broken, NotSent, request
from serai.hosting.starting import Starter
from serai.kernel.background import Background
from serai.kernel.clock import now, parse_rfc3339, rfc3339
from serai.kernel.errors import RateLimited, SeraiError
from serai.kernel.ids import token
from serai.store.database import Database
from serai.store.reach import unbounded
from serai.store.secrets import Vault

CALL_SECONDS = 900
WAIT_SECONDS = 60.0
LOOK_SECONDS = 1.0
LEASE_MARGIN = 60.0
TIDY_SECONDS = 60.0
KEPT_HOURS = 24
TELLINGS = 8
WAITING_MAX = 10_000
"""Calls of one deployment that may wait."""
UNKNOWN = "CALL_OUTCOME_UNKNOWN"
log = structlog.get_logger(__name__)


class Calls:
    """Makes asynchronous calls, so many at a time, until stopped."""

    def __init__(
        self,
        db: Database,
        vault: Vault,
        table: Table,
        starter: Starter,
        callbacks: Callbacks,
        most: int,
    ) -> None:
        self._db = db
        self._vault = vault
        self._table = table
        self._starter = starter
        self._callbacks = callbacks
        self._most = most
        self._busy: set[str] = set()
        self._news = asyncio.Event()
        self._tasks = Background()

    async def submit(self, deployment: Deployment, trigger: Trigger, asked: Asked) -> str:
        """Keep a call to be made; answers its id once it cannot be lost any more.

        Raises:
            RateLimited: too many calls of this deployment wait already.
            ServiceUnavailable: it cannot be written down.
        """
        workload, call_id, moment = deployment.workload, token(20), rfc3339(now())
        callback = None
        if trigger.callback_url:
            told = Callback(url=trigger.callback_url, secret=trigger.callback_secret)
            callback = self._vault.seal(msgspec.json.encode(told), _context(call_id, "callback"))
        row = CallRow(
            id=call_id,
            workspace=workload.workspace,
            document_id=workload.document_id,
            kind=workload.kind,
            name=workload.name,
            trigger=trigger.id,
            state="queued",
            attempt=0,
            run_at=moment,
            created_at=moment,
            request=self._vault.seal(msgspec.msgpack.encode(asked), _context(call_id, "request")),
            callback=callback,
            status_code=None,
            outcome="",
        )
        with unbounded("a caller's own call, which was let in by the gateway"):
            await self._db.write(lambda conn: _add(conn, row))
        self._news.set()
        return call_id

    # -- time
    async def start(self) -> None:
        """Repair what a crash left, and begin."""
        for row in await self._db.read(lambda conn: records.abandoned(conn, None)):
            await self._lost(row)
        self._tasks.start(self._watch())
        self._tasks.start(self._tidy())

    async def stop(self) -> None:
        """Begin no more; what is under way is reported as unknown after the next start."""
        await self._tasks.cancel()

    async def _watch(self) -> None:
        while True:
            self._news.clear()
            try:
                await self._begin_due()
            except Exception:
                log.exception("calls_look_failed")
            try:
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._news.wait()
            except TimeoutError:
                pass

    async def _begin_due(self) -> None:
        free = self._most - len(self._busy)
        if free <= 0:
            return
        moment = now()
        rows = await self._db.read(lambda conn: records.due(conn, rfc3339(moment), free))
        for row in rows:
            if row.id not in self._busy:
                self._busy.add(row.id)
                self._tasks.start(self._guarded(row))

    async def _guarded(self, row: CallRow) -> None:
        try:
            await (self._tell(row) if row.state == "telling" else self._make(row))
        except Exception:
            log.exception("call_failed", call=row.id)
            await self._later(row, row.state, 30.0)
        finally:
            self._busy.discard(row.id)
            self._news.set()

    async def _tidy(self) -> None:
        while True:
            try:
                await self._tidy_once(now())
            except Exception:
                log.exception("calls_tidy_failed")
            await asyncio.sleep(TIDY_SECONDS)

    async def _tidy_once(self, moment: datetime) -> None:
        stamp, before = rfc3339(moment), rfc3339(moment - timedelta(hours=KEPT_HOURS))
        for row in await self._db.read(lambda conn: records.abandoned(conn, stamp)):
            if row.id not in self._busy:
                await self._lost(row)
        await self._db.write(lambda conn: records.drop_old(conn, before))

    # -- making one
    async def _make(self, row: CallRow) -> None:
        deployment = self._table.by_id.get(row.document_id)
        if deployment is None:
            await self._over(row, _failure(404, "WORKLOAD_NOT_FOUND", "It was deleted."))
            return
        trigger = next((each for each in deployment.triggers if each.id == row.trigger), None)
        seconds = min(trigger.timeout if trigger is not None else CALL_SECONDS, CALL_SECONDS)
        lease = rfc3339(now() + timedelta(seconds=WAIT_SECONDS + seconds + LEASE_MARGIN))
        taken = {"state": "running", "run_at": lease, "attempt": row.attempt + 1}
        await self._db.write(lambda conn: records.change(conn, row.id, **taken))
        tries = (trigger.retry if trigger is not None else 0) + 1
        try:
            answered = await self._sent(row, deployment, float(seconds))
        except (WorkloadUnavailable, NotSent) as problem:
            await self._not_made(row, problem)
            return
        except SeraiError as problem:
            answered = _failure(problem.status, problem.code, problem.message)
        except Broken as problem:
            answered = _failure(502, "UPSTREAM_ERROR", f"The call failed: {problem}.")
        if answered.status >= 500 and row.attempt + 1 < tries:
            await self._later(row, "queued", min(2.0**row.attempt, 60.0))
            return
        await self._counted(row, deployment)
        await self._over(row, answered)

    async def _sent(self, row: CallRow, deployment: Deployment, seconds: float) -> Answered:
        plain = self._vault.unseal(row.request, _context(row.id, "request"))
        asked = msgspec.msgpack.decode(plain, type=Asked)
        fleet = deployment.choose("", row.id.encode()).fleet
        instance = await fleet.acquire(WAIT_SECONDS)
        try:
            return await request(instance, asked, seconds)
        finally:
            instance.leave()

    async def _counted(self, row: CallRow, deployment: Deployment) -> None:
        at = parse_rfc3339(row.created_at)
        await self._starter.usage.called(deployment.workload, row.id, at)

    async def _not_made(self, row: CallRow, problem: Exception) -> None:
        """Nothing was sent: try again, as long as a call may take."""
        waited = (now() - parse_rfc3339(row.created_at)).total_seconds()
        if waited < CALL_SECONDS:
            after = {"state": "queued", "run_at": rfc3339(now() + timedelta(seconds=_pause(row)))}
            await self._db.write(lambda conn: records.change(conn, row.id, **after))
            return
        text = problem.message if isinstance(problem, SeraiError) else str(problem)
        await self._over(row, _failure(503, "WORKLOAD_UNAVAILABLE", text))

    async def _later(self, row: CallRow, state: str, seconds: float) -> None:
        run_at = rfc3339(now() + timedelta(seconds=seconds))
        await self._db.write(lambda conn: records.change(conn, row.id, state=state, run_at=run_at))

    async def _lost(self, row: CallRow) -> None:
        """Somebody had it, and nobody knows what came of it."""
        text = "The platform ended while the call was under way: nobody knows what came of it."
        await self._over(row, _failure(502, UNKNOWN, text), unknown=True)

    # -- the end of one
    async def _over(self, row: CallRow, answered: Answered, *, unknown: bool = False) -> None:
        state = "telling" if row.callback is not None else "unknown" if unknown else "done"
        changes = {
            "state": state,
            "run_at": rfc3339(now()),
            "attempt": 0,
            "status_code": answered.status,
            "outcome": msgspec.json.encode(answered).decode(),
            "request": b"",
        }
        await self._db.write(lambda conn: records.change(conn, row.id, **changes))
        self._say(row, f"Asynchronous call {row.id} ended with status {answered.status}.")
        self._news.set()

    async def _tell(self, row: CallRow) -> None:
        assert row.callback is not None
        plain = self._vault.unseal(row.callback, _context(row.id, "callback"))
        callback = msgspec.json.decode(plain, type=Callback)
        answered = msgspec.json.decode(row.outcome, type=Answered)
        try:
            await self._callbacks.send(callback, answered, int(now().timestamp()))
        except Untold as problem:
            await self._untold(row, problem)
            return
        await self._db.write(
            lambda conn: records.change(conn, row.id, state="done", run_at=rfc3339(now()))
        )

    async def _untold(self, row: CallRow, problem: Untold) -> None:
        attempt = row.attempt + 1
        again = problem.again and attempt < TELLINGS
        self._say(row, f"The result of asynchronous call {row.id} was not delivered: {problem}.")
        pause = timedelta(seconds=min(2.0**attempt, 300.0) if again else 0.0)
        changes = {"state": "telling" if again else "untold", "attempt": attempt}
        run_at = rfc3339(now() + pause)
        await self._db.write(lambda conn: records.change(conn, row.id, run_at=run_at, **changes))

    def _say(self, row: CallRow, text: str) -> None:
        deployment = self._table.by_id.get(row.document_id)
        if deployment is not None:
            self._starter.say(deployment.workload, "", "", text)


def _add(conn: Connection, row: CallRow) -> None:
    if records.waiting(conn, row.document_id) >= WAITING_MAX:
        raise RateLimited(
            f"{WAITING_MAX} asynchronous calls of '{row.name}' wait already; try again later."
        )
    records.add(conn, row)


def _pause(row: CallRow) -> float:
    return float(min(2.0**row.attempt, 15.0))


def _failure(status: int, code: str, message: str) -> Answered:
    """What is told of a call that its workload did not answer."""
    body = msgspec.json.encode({"error": {"code": code, "message": message, "status": status}})
    return Answered(status=status, body=body.decode(), length=len(body))


def _context(call_id: str, part: str) -> str:
    return f"call/{call_id}/{part}"
