"""What the operations of billing share."""

from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar

import msgspec
from sqlalchemy import Connection

from serai.billing.price_records import account_prices
from serai.metering.delivery import SpanDelivery
from serai.metering.prices import PriceList
from serai.metering.store import UsageStore
from serai.store.database import Database
from serai.store.secrets import Vault

T = TypeVar("T")


class UsageSource(Protocol):
    """Where usage is read from: another database than that of everything else."""

    async def read_in_thread(self, fn: Callable[[Connection], T]) -> T:
        """Run a heavy read in a worker thread."""


class FreshUsage:
    """The usage store with everything that happened up to now in it."""

    def __init__(self, usage: UsageStore, delivery: SpanDelivery) -> None:
        self._usage = usage
        self._delivery = delivery

    async def read_in_thread(self, fn: Callable[[Connection], T]) -> T:
        """Read in a worker thread, after what waits for delivery has arrived."""
        await self._delivery.drain()
        return await self._usage.read_in_thread(fn)


async def _nothing() -> None:
    """There is nothing to wait for."""


class BillingContext(msgspec.Struct, frozen=True):
    """Both databases, and the price list of the operator's file.

    ``changed`` is called when a budget may have to speak up before its next turn, ``settle`` is
    awaited until changed budgets hold.
    """

    db: Database
    usage: UsageSource
    prices: PriceList
    vault: Vault
    changed: Callable[[], Any] = lambda: None
    settle: Callable[[], Awaitable[Any]] = _nothing

    async def prices_of(self, account_id: str) -> PriceList:
        """The prices that hold for an account."""
        return await self.db.read(lambda conn: account_prices(conn, account_id, self.prices))
