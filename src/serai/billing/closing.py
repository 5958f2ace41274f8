"""Closes months: each after a grace of its own, or when somebody asks."""

from collections.abc import Callable
from datetime import datetime

import structlog
from sqlalchemy import Connection

from serai.billing.accounts import accounts
from serai.billing.context import BillingContext
from serai.billing.price_records import account_prices
from serai.billing.statement_records import add_statement, closed_months, earlier_months
from serai.billing.statements import GRACE, Closed, due_months, end_of, month_lines
from serai.kernel.clock import parse_rfc3339
from serai.kernel.errors import Conflict
from serai.metering.prices import PriceList

log = structlog.get_logger(__name__)
BY_ITSELF = "serai"


class Closing:
    """Closes the months of accounts in order, each in one transaction."""

    def __init__(self, context: BillingContext, clock: Callable[[], datetime]) -> None:
        self._context = context
        self._clock = clock

    async def close_due(self) -> int:
        """Close every month whose grace is over, of every account. Returns how many.

        An account whose usage cannot be read is logged, and does not hold up the others.
        """
        closed = 0
        for account in await self._context.db.read(accounts):
            last = self._clock() - GRACE
            try:
                closed += await self._close_until(account.id, account.created_at, last, BY_ITSELF)
            except Exception:
                log.exception("closing_waits", account=account.id)
        return closed

    async def close(self, account_id: str, month: str, by: str) -> None:
        """Close a month, and every one before it, that is not closed yet.

        Raises:
            Conflict: it has not ended, or is before the account.
        """
        now = self._clock()
        if end_of(month) > now:
            raise Conflict(
                f"{month} has not ended; it can be closed from {end_of(month):%Y-%m-%d} on.",
                code="MONTH_OPEN",
            )
        (account,) = await self._context.db.read(lambda conn: accounts(conn, [account_id]))
        if end_of(month) <= parse_rfc3339(account.created_at):
            raise Conflict(
                f"{month} was before the account, which began on {account.created_at[:10]}.",
                code="MONTH_BEFORE_ACCOUNT",
            )
        await self._close_until(account_id, account.created_at, end_of(month), by)

    async def _close_until(self, account_id: str, created: str, last: datetime, by: str) -> int:
        known = await self._context.db.read(lambda conn: closed_months(conn, account_id))
        count = 0
        for month in due_months(parse_rfc3339(created), known, last):
            count += await self._close(account_id, month, by)
        return count

    async def _close(self, account_id: str, month: str, by: str) -> bool:
        context, now = self._context, self._clock()

        def known(conn: Connection) -> tuple[PriceList, list[Closed]]:
            prices = account_prices(conn, account_id, context.prices)
            return prices, earlier_months(conn, account_id, month)

        prices, earlier = await context.db.read(known)
        lines = await context.usage.read_in_thread(
            lambda conn: month_lines(conn, account_id, month, prices, earlier, now)
        )
        done = await context.db.write(
            lambda conn: add_statement(conn, account_id, month, prices, lines, by, now)
        )
        if done:
            log.info("month_closed", account=account_id, month=month, lines=len(lines), by=by)
        return done
