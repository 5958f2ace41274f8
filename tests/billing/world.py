"""An account with usage at chosen times, and billing that believes a clock of the test's."""

from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Connection

from serai.billing.context import BillingContext
from serai.metering.dimensions import DIMENSIONS, SANDBOX_RUNTIME
from serai.metering.events import Series, UsageEvent
from serai.metering.prices import PriceList
from serai.metering.records import record
from serai.metering.store import UsageStore
from serai.metering.times import HOUR, millis
from serai.store.database import Database
from serai.store.secrets import Vault
from serai.store.tables import identity

GB_HOUR = 3600 * DIMENSIONS[SANDBOX_RUNTIME].scale
"""An hour of a sandbox with 1 GB, as it is stored."""

ACCOUNT = {"id": "acc", "name": "=Acme, Inc.", "currency": "USD"}


BEGAN = "2026-01-10T00:00:00.000Z"


class World:
    """Both databases, and what billing shares; ``now`` is what the clock says."""

    def __init__(self, directory: Path, usage_url: str | None = None) -> None:
        self.directory = directory
        self.now = datetime(2026, 5, 20, 12, tzinfo=UTC)
        self.db = Database(directory / "serai.db")
        self.usage = UsageStore(directory, usage_url)
        self.vault = Vault(b"k" * 32)
        self.woken = 0

    def clock(self) -> datetime:
        """The moment that billing believes in."""
        return self.now

    def open(self) -> "World":
        """Open both databases, with the account in."""
        self.db.open()
        self.usage.open()
        self.db.submit(self._begin).result()
        return self

    def _begin(self, conn: Connection) -> None:
        known = identity.accounts.c.id == ACCOUNT["id"]
        if conn.execute(identity.accounts.select().where(known)).first() is None:
            conn.execute(
                identity.accounts.insert(), {**ACCOUNT, "created_at": "2026-01-10T00:00:00.000Z"}
            )

    def close(self) -> None:
        """Close both."""
        self.db.close()
        self.usage.close()

    def context(self, prices: PriceList | None = None) -> BillingContext:
        """What the operations share."""
        return BillingContext(self.db, self.usage, prices or PriceList(), self.vault, self._woken)

    def _woken(self) -> None:
        self.woken += 1

    def use(self, at: str, quantity: int = GB_HOUR, **more: str) -> None:
        """Record usage that happened in the hour from ``at`` on (``2026-05-01T10``)."""
        self.record([used(at, quantity, **more)])

    def record(self, events: list[UsageEvent]) -> None:
        """Record all of it at once."""
        self.usage.submit(lambda conn: record(conn, events)).result()


def used(
    at: str,
    quantity: int = GB_HOUR,
    *,
    name: str = "box",
    workspace: str = "main",
    dimension: str = SANDBOX_RUNTIME,
    provider: str = "",
) -> UsageEvent:
    """Usage of one resource in an hour."""
    start = millis(datetime.fromisoformat(f"{at}:00:00+00:00"))
    resource_type = DIMENSIONS[dimension].resource_type
    series = Series(
        account_id="acc",
        workspace=workspace,
        resource_type=resource_type,
        resource_name=name,
        resource_id=f"id-{name}",
        dimension=dimension,
        provider=provider,
        model=name if resource_type == "model" else "",
    )
    return UsageEvent(
        id=f"{name}/{dimension}/{start}/{quantity}",
        series=series,
        start=start,
        end=start + (HOUR if DIMENSIONS[dimension].unit != "count" else 0),
        quantity=quantity,
    )
