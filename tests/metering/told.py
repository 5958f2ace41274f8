"""Tells a meter of spans, as the outbox does."""

from datetime import datetime
from itertools import count

from sqlalchemy import Connection

from serai.kernel.clock import millis
from serai.metering.dimensions import SANDBOX_RUNTIME
from serai.metering.spans import SpanMeter
from serai.resources.spans import Metered, SpanChange


class ToldMeter(SpanMeter):
    """A meter with a numbering of its own, for one resource type's spans."""

    def __init__(self) -> None:
        self.numbers = count(1)

    def open(
        self,
        conn: Connection,
        *,
        resource_id: str,
        account_id: str,
        workspace: str,
        name: str,
        memory_mb: int,
        at: datetime,
        number: int | None = None,
    ) -> None:
        """A sandbox runs from ``at`` on."""
        resource = Metered(
            id=resource_id, account_id=account_id, workspace=workspace, type="sandbox", name=name
        )
        change = SpanChange(
            resource_id=resource_id,
            dimension=SANDBOX_RUNTIME,
            rate=memory_mb,
            at=millis(at),
            resource=resource,
        )
        self.apply(conn, next(self.numbers) if number is None else number, change)

    def close(
        self, conn: Connection, resource_id: str, at: datetime, number: int | None = None
    ) -> None:
        """It ran until ``at``."""
        change = SpanChange(
            resource_id=resource_id, dimension=SANDBOX_RUNTIME, rate=0, at=millis(at)
        )
        self.apply(conn, next(self.numbers) if number is None else number, change)
