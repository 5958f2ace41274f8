"""Cron triggers of deployments: each is an asynchronous call that a clock makes.

What was missed while the platform was down is made up for by one call.
"""

import asyncio

import msgspec
import structlog
from sqlalchemy import Connection

from serai.compute.schedule_rules import next_run
from serai.hosting import call_records as records
from serai.hosting.calls import Calls
from serai.hosting.deployments import Deployment, Table, Trigger
from serai.hosting.messages import Asked
from serai.kernel.clock import now, parse_rfc3339, rfc3339
from serai.kernel.errors import SeraiError
from serai.store.database import Database

LOOK_SECONDS = 1.0
log = structlog.get_logger(__name__)
Key = tuple[str, str]


class Clocks:
    """Looks at the schedules of all deployments every second, until cancelled."""

    def __init__(self, db: Database, table: Table, calls: Calls) -> None:
        self._db = db
        self._table = table
        self._calls = calls
        self._known: dict[Key, tuple[str, str]] = {}

    async def run(self) -> None:
        """Make the calls that are due."""
        self._known = await self._db.read(records.scheduled)
        while True:
            try:
                await self._look()
            except Exception:
                log.exception("clocks_look_failed")
            await asyncio.sleep(LOOK_SECONDS)

    async def _look(self) -> None:
        wanted = {
            (deployment.workload.document_id, trigger.id): (deployment, trigger)
            for deployment in self._table.by_id.values()
            if deployment.active is not None
            for trigger in deployment.triggers
            if trigger.type == "cron" and trigger.schedule
        }
        for key in self._known.keys() - wanted.keys():
            if key[0] not in self._table.by_id or not self._is_waiting(key):
                await self._db.write(lambda conn, one=key: records.unschedule(conn, one))  # type: ignore[misc]
                del self._known[key]
        for key, (deployment, trigger) in wanted.items():
            await self._one(key, deployment, trigger)

    def _is_waiting(self, key: Key) -> bool:
        """Whether a trigger is there still, of a deployment that does not serve right now."""
        deployment = self._table.by_id[key[0]]
        return any(each.id == key[1] and each.type == "cron" for each in deployment.triggers)

    async def _one(self, key: Key, deployment: Deployment, trigger: Trigger) -> None:
        moment, known = now(), self._known.get(key)
        if known is not None and known[0] == trigger.schedule:
            if parse_rfc3339(known[1]) > moment:
                return
            try:
                await self._calls.submit(deployment, trigger, _asked(trigger))
            except SeraiError as problem:
                log.warning("cron_call_refused", name=deployment.workload.name, why=str(problem))
        following = rfc3339(next_run("cron", trigger.schedule, moment))
        self._known[key] = (trigger.schedule, following)
        await self._db.write(
            lambda conn: self._note(conn, key, deployment, trigger.schedule, following)
        )

    @staticmethod
    def _note(
        conn: Connection, key: Key, deployment: Deployment, schedule: str, following: str
    ) -> None:
        records.schedule(conn, key, deployment.workload.workspace, schedule, following)


def _asked(trigger: Trigger) -> Asked:
    body = msgspec.json.encode(trigger.tasks[0] if trigger.tasks else {})
    headers = [("content-type", "application/json"), ("x-serai-trigger", trigger.id)]
    return Asked(method="POST", path="/", headers=headers, body=body)
