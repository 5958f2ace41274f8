"""Forgetting calls of models when their time is over, and their content with its model."""

from collections.abc import Awaitable, Callable
from functools import partial

import structlog

from serai.kernel.background import Background
from serai.kernel.clock import millis, now
from serai.kernel.repeating import again_and_again
from serai.metering.times import DAY
from serai.store.database import Database
from serai.store.reach import unbounded
from serai.store.tables.requests import model_request_logs, model_requests
from serai.telemetry.records import (
    PRUNED_AT_ONCE,
    first_number,
    forget_logs,
    logged_models,
    prune,
    prune_logs,
)

INTERVAL = 600.0
log = structlog.get_logger(__name__)


class RequestKeeper:
    """Deletes rows that are older than ``days``, and what was kept of contents.

    Args:
        usage: the usage database.
        living: ids of all models that there are; never read where calls are served.
        days: how long a call is known.
    """

    def __init__(
        self, usage: Database, living: Callable[[], Awaitable[frozenset[str]]], days: int
    ) -> None:
        self._usage = usage
        self._living = living
        self._days = days
        self._background = Background()

    async def run(self) -> None:
        """Once at the start, as a model may have gone while nobody looked, then again and again."""
        await again_and_again(self.tidy, INTERVAL, "model_requests_not_pruned")

    async def tidy(self) -> None:
        """Delete everything whose time is over, and the content of models that are gone."""
        moment = millis(now())
        oldest = first_number(moment - self._days * DAY)
        for table in (model_requests, model_request_logs):  # a log lasts no longer than its row
            forget = partial(prune, before=oldest, table=table)
            while await self._usage.write(forget) >= PRUNED_AT_ONCE:
                pass
        await self._usage.write(partial(prune_logs, now_ms=moment))
        # in this order: whoever is logged by now was there before, so it is living or gone
        logged = await self._usage.read(logged_models)
        if logged and (gone := logged - await self._living()):
            await self._usage.write(partial(forget_logs, models=gone))

    def model_gone(self, resource_id: str) -> None:
        """A model was deleted: what was kept of its calls goes too, now or at the next turn."""
        with unbounded("a model's content goes with it, whoever deletes it"):
            self._background.start(self._forget(resource_id))

    async def _forget(self, resource_id: str) -> None:
        try:
            await self._usage.write(partial(forget_logs, models=frozenset({resource_id})))
        except Exception:
            log.exception("request_logs_not_deleted")
