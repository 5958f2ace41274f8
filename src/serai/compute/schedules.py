"""Schedules of sandboxes: what is stored, when it is due, and what came of it."""

import asyncio
from datetime import datetime, timedelta

import msgspec
from sqlalchemy import Connection

from serai.compute import schedule_records as records
from serai.compute.kind import SANDBOXES, need_living
from serai.compute.schedule_records import ExecutionRow, ScheduleRow
from serai.compute.schedule_rules import next_run, prepare_schedule
from serai.kernel.clock import now, rfc3339
from serai.kernel.errors import BadRequest, Conflict, NotFound
from serai.kernel.ids import token
from serai.resources.kind import Body
from serai.resources.masking import map_slots, put_back, take_out
from serai.resources.store import DocumentStore
from serai.store.database import Database
from serai.store.secrets import Vault
from serai.wire.sandboxes import ScheduleEntry

SCHEDULES_MAX = 100


class ScheduleService:
    """Keeps schedules; ``changed`` is set when the next due moment may have moved."""

    def __init__(self, db: Database, store: DocumentStore, vault: Vault) -> None:
        self.db = db
        self.store = store
        self.vault = vault
        self.changed = asyncio.Event()

    # -- what clients do
    async def create(self, workspace: str, sandbox: str, shape: ScheduleEntry) -> bytes:
        """Add a schedule; answers its JSON.

        Raises:
            NotFound: no such sandbox.
            Conflict: the id is taken, or the sandbox has ended.
            BadRequest: a rule is broken, or there are too many schedules.
        """
        moment = now()
        body = prepare_schedule(shape, moment)
        body["id"] = shape.id or f"schedule-{token(8)}"

        def write(conn: Connection) -> ScheduleRow:
            need_living(conn, self.store, workspace, sandbox)
            if records.find(conn, workspace, sandbox, body["id"]) is not None:
                raise Conflict(
                    f"Sandbox {sandbox!r} has a schedule {body['id']!r} already.",
                    code="SCHEDULE_ALREADY_EXISTS",
                )
            if records.count(conn, workspace, sandbox) >= SCHEDULES_MAX:
                raise BadRequest(
                    f"Sandbox {sandbox!r} has {SCHEDULES_MAX} schedules, the most there may be: "
                    "delete one first.",
                    code="SCHEDULE_LIMIT",
                )
            row = self._row(workspace, sandbox, body, rfc3339(moment), moment, {})
            records.save(conn, row, new=True)
            return row

        row = await self.db.write(write)
        self.changed.set()
        return row.body.encode()

    async def replace(
        self, workspace: str, sandbox: str, schedule_id: str, shape: ScheduleEntry
    ) -> bytes:
        """Replace a schedule; masked values of ``input.env`` stay as they are.

        Raises:
            NotFound: no such sandbox or schedule.
            BadRequest: a rule is broken.
        """
        moment = now()
        body = prepare_schedule(shape, moment)
        if shape.id not in {None, "", schedule_id}:
            raise BadRequest(
                f"id {str(shape.id)[:80]!r} differs from the id in the path, "
                f"{schedule_id[:80]!r}; a schedule cannot be renamed."
            )
        body["id"] = schedule_id

        def write(conn: Connection) -> ScheduleRow:
            old = self._need(conn, workspace, sandbox, schedule_id)
            known = self._secrets(old)
            row = self._row(workspace, sandbox, body, old.created_at, moment, known)
            records.save(conn, row, new=False)
            return row

        row = await self.db.write(write)
        self.changed.set()
        return row.body.encode()

    async def get(self, workspace: str, sandbox: str, schedule_id: str, *, reveal: bool) -> bytes:
        """A schedule's JSON; with ``reveal`` its secrets in clear.

        Raises:
            NotFound: no such sandbox or schedule.
        """
        row = await self.db.read(lambda conn: self._need(conn, workspace, sandbox, schedule_id))
        return msgspec.json.encode(self._revealed(row)) if reveal else row.body.encode()

    async def delete(self, workspace: str, sandbox: str, schedule_id: str) -> bytes:
        """Delete a schedule; what it ran before stays listed.

        Raises:
            NotFound: no such sandbox or schedule.
        """

        def write(conn: Connection) -> ScheduleRow:
            row = self._need(conn, workspace, sandbox, schedule_id)
            records.drop(conn, row)
            return row

        return (await self.db.write(write)).body.encode()

    def need_sandbox(self, conn: Connection, workspace: str, sandbox: str) -> None:
        """Raises NotFound when the workspace has no such sandbox."""
        self.store.need(conn, SANDBOXES, workspace, sandbox)

    def _need(
        self, conn: Connection, workspace: str, sandbox: str, schedule_id: str
    ) -> ScheduleRow:
        self.need_sandbox(conn, workspace, sandbox)
        row = records.find(conn, workspace, sandbox, schedule_id)
        if row is None:
            raise NotFound(
                f"Sandbox {sandbox!r} has no schedule {schedule_id[:80]!r}.",
                code="SCHEDULE_NOT_FOUND",
            )
        return row

    # -- rows and secrets
    def _row(
        self,
        workspace: str,
        sandbox: str,
        wanted: Body,
        created_at: str,
        moment: datetime,
        known: dict[str, str],
    ) -> ScheduleRow:
        body = wanted | {"sandbox": sandbox, "createdAt": created_at}
        taken = take_out(map_slots("input.env", body["input"].get("env")), known)
        sealed = None
        if taken:
            context = _context(workspace, sandbox, body["id"])
            sealed = self.vault.seal(msgspec.json.encode(taken), context)
        words = (body["id"], sandbox, body["input"]["command"], body["input"].get("name", ""))
        return ScheduleRow(
            workspace=workspace,
            sandbox=sandbox,
            id=body["id"],
            type=body["type"],
            value=body["value"],
            max_executions=body["maxExecutions"],
            created_at=created_at,
            next_run_at=rfc3339(next_run(body["type"], body["value"], moment)),
            search="\n".join(words).lower(),
            body=msgspec.json.encode(body).decode(),
            secrets=sealed,
        )

    def _secrets(self, row: ScheduleRow) -> dict[str, str]:
        if row.secrets is None:
            return {}
        plain = self.vault.unseal(row.secrets, _context(row.workspace, row.sandbox, row.id))
        return msgspec.json.decode(plain, type=dict[str, str])

    def _revealed(self, row: ScheduleRow) -> Body:
        body: Body = msgspec.json.decode(row.body)
        put_back(map_slots("input.env", body["input"].get("env")), self._secrets(row))
        return body

    # -- what the timer does
    def claim(self, conn: Connection, moment: datetime) -> list[ExecutionRow]:
        """Turn what is due into runs to do: once per schedule, however often its time passed."""
        made = []
        for row in records.due(conn, rfc3339(moment)):
            made.append(self._enqueue(conn, row, moment))
            if row.type == "cron":
                later = rfc3339(next_run(row.type, row.value, moment))
                records.save(conn, msgspec.structs.replace(row, next_run_at=later), new=False)
            else:
                records.drop(conn, row)
        return made

    def _enqueue(self, conn: Connection, row: ScheduleRow, moment: datetime) -> ExecutionRow:
        wanted = self._revealed(row)["input"]
        execution = ExecutionRow(
            workspace=row.workspace,
            sandbox=row.sandbox,
            schedule_id=row.id,
            max_executions=row.max_executions,
            process_name=wanted.get("name", ""),
            timeout=wanted["timeout"],
            created_at=rfc3339(moment),
        )
        seq = records.enqueue(conn, execution)
        name = execution.process_name or f"{row.id}-{seq}"
        process = wanted | {"name": name, "waitForCompletion": False}
        job = self.vault.seal(msgspec.json.encode(process), f"schedule-run/{seq}")
        records.name_process(conn, seq, name, job)
        return msgspec.structs.replace(execution, seq=seq, process_name=name, job=job)

    def process_of(self, execution: ExecutionRow) -> bytes:
        """The process request of a run, as the sandbox API reads it."""
        assert execution.job is not None
        return self.vault.unseal(execution.job, f"schedule-run/{execution.seq}")

    async def finish(self, execution: ExecutionRow, status_code: int, error: str | None) -> None:
        """Record the outcome of a run."""
        moment = rfc3339(now())
        await self.db.write(
            lambda conn: records.finish(conn, execution, moment, status_code, error)
        )


def minute_of(moment: datetime, *, up: bool = False) -> datetime:
    """The whole minute at or before a moment, or, with ``up``, the next one after it."""
    whole = moment.replace(second=0, microsecond=0)
    latest = datetime.max.replace(tzinfo=moment.tzinfo) - timedelta(minutes=1)
    return whole + timedelta(minutes=1) if up and whole < moment <= latest else whole


def _context(workspace: str, sandbox: str, schedule_id: str) -> str:
    return f"schedule/{workspace}/{sandbox}/{schedule_id}"
