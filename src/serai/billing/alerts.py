"""Watches budgets: notices crossed thresholds, and tells them until the receiver took it.

What is to be told is a row with an id before it is sent for the first time, and a threshold has
one row a month. So a crash at any moment leads to no second id: at worst the same one is sent
again, and the receiver tells that by ``webhook-id``.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any

import msgspec
import structlog
from sqlalchemy import Connection

from serai.billing.budget_records import (
    add_alerts,
    attempts_of,
    due_alerts,
    find_alerts,
    find_budgets,
    next_due,
    note_delivered,
    note_failure,
)
from serai.billing.budgets import Budget, Threshold, bounds, spent
from serai.billing.context import BillingContext
from serai.billing.webhooks import Message, Undelivered, Webhooks
from serai.kernel.clock import parse_rfc3339, rfc3339
from serai.kernel.ids import token
from serai.metering.money import plain, published
from serai.metering.prices import PriceList
from serai.metering.times import moment_of

log = structlog.get_logger(__name__)

FIRST_RETRY = timedelta(seconds=5)
LONGEST_RETRY = timedelta(hours=1)
GIVE_UP = timedelta(days=3)
"""How long after the threshold was crossed a message is still tried."""

LATE = timedelta(days=3)
"""How long after its end a month is still watched, for usage that arrives late."""

LATE_DAY = timedelta(days=1)
"""The same for the day of a budget of a day."""

AT_ONCE = 8
TYPE = "budget.threshold_crossed"


class BudgetWatch:
    """Both halves, one call each; every call can be repeated."""

    def __init__(
        self, context: BillingContext, webhooks: Webhooks, clock: Callable[[], datetime]
    ) -> None:
        self._context = context
        self._webhooks = webhooks
        self._clock = clock

    async def notice(self) -> int:
        """Keep a message for every threshold that is crossed. Returns how many are new."""
        now = self._clock()
        found = [one for one in await self._context.db.read(find_budgets) if one.thresholds]
        if not found:
            return 0
        watched = [(one, period) for one in found for period in _periods(one, now)]
        prices = {
            account: await self._context.prices_of(account)
            for account in {one.account_id for one in found}
        }
        costs = await self._context.usage.read_in_thread(
            lambda conn: [
                spent(conn, one, period, prices[one.account_id], now) for one, period in watched
            ]
        )
        rows = list(_crossed(zip(watched, costs, strict=True), prices, now))
        if not await self._context.db.read(lambda conn: _unknown(conn, rows)):
            return 0
        return await self._context.db.write(lambda conn: add_alerts(conn, rows, now))

    async def tell(self) -> int:
        """Send what is due, a few at once. Returns how many were taken."""
        now = self._clock()
        due = await self._context.db.read(
            lambda conn: due_alerts(conn, now, self._context.vault, AT_ONCE)
        )
        return sum(await asyncio.gather(*map(self._send, due)))

    async def next_due(self) -> datetime | None:
        """When ``tell`` has something to do again."""
        due = await self._context.db.read(next_due)
        return None if due is None else moment_of(due)

    async def _send(self, message: Message) -> bool:
        at = self._clock()
        try:
            await self._webhooks.send(message, int(at.timestamp()))
        except Undelivered as problem:
            why = str(problem)
            log.warning("budget_alert_waits", id=message.id, problem=why)
            await self._context.db.write(lambda conn: _failed(conn, message.id, why, at))
            return False
        await self._context.db.write(lambda conn: note_delivered(conn, message.id, at))
        return True


def retry_after(attempts: int) -> timedelta:
    """How long to wait after that many failed attempts: twice as long each time, up to an hour."""
    return min(LONGEST_RETRY, FIRST_RETRY * (1 << min(attempts - 1, 20)))


def _failed(conn: Connection, alert_id: str, problem: str, at: datetime) -> None:
    known = attempts_of(conn, alert_id)
    if known is not None:
        attempts, crossed_at = known
        again = at + retry_after(attempts + 1)
        gone = again > parse_rfc3339(crossed_at) + GIVE_UP
        note_failure(conn, alert_id, problem, None if gone else again)


def _periods(budget: Budget, now: datetime) -> list[str]:
    """This period, and the last one for a while unless the budget is younger."""
    late = LATE_DAY if budget.per == "day" else LATE
    periods = {budget.period(now), budget.period(now - late)}
    created = parse_rfc3339(budget.created_at)
    return sorted(period for period in periods if moment_of(bounds(period)[1]) > created)


def _crossed(
    costs: Iterable[tuple[tuple[Budget, str], int]], prices: dict[str, PriceList], now: datetime
) -> Iterator[dict[str, Any]]:
    for (budget, period), cost in costs:
        for threshold in budget.crossed(cost):
            alert_id = f"bal-{token(24)}"
            currency = prices[budget.account_id].currency
            payload = _payload(budget, threshold, period, cost, currency, now)
            yield {
                "id": alert_id,
                "budget_id": budget.id,
                "period": period,
                "threshold": threshold.key,
                "payload": msgspec.json.encode({"id": alert_id} | payload).decode(),
            }


def _payload(
    budget: Budget, threshold: Threshold, period: str, cost: int, currency: str, now: datetime
) -> dict[str, Any]:
    return {
        "type": TYPE,
        "timestamp": rfc3339(now),
        "data": {
            "accountId": budget.account_id,
            "budget": budget.name,
            "period": period,
            "threshold": threshold,
            "amount": plain(budget.amount),
            "spent": plain(published(cost)),
            "currency": currency,
        }
        | budget.filters,
    }


def _unknown(conn: Connection, rows: list[dict[str, Any]]) -> bool:
    known = find_alerts(conn, {row["budget_id"] for row in rows}, {row["period"] for row in rows})
    return any((row["budget_id"], row["period"], row["threshold"]) not in known for row in rows)
