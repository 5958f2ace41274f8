"""Budgets: what may be spent in a month, and the thresholds at which somebody is told."""

from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal, InvalidOperation

import msgspec
from sqlalchemy import Connection

from serai.billing.webhooks import check_secret, check_url
from serai.kernel.errors import BadRequest
from serai.kernel.names import check_name
from serai.metering.answer import reader_of
from serai.metering.dimensions import DIMENSIONS
from serai.metering.money import EXACT, grains, plain
from serai.metering.prices import PriceList
from serai.metering.query import FILTERS, MetricsQuery
from serai.metering.times import millis, month_name, month_number, month_start
from serai.metering.usage import Scope
from serai.wire import billing as wire

MAX_BUDGETS = 100
MAX_THRESHOLDS = 20
MAX_TEXT = 256
LARGEST = Decimal(10) ** 12
AMOUNT_PLACES = Decimal("1e-6")
PERCENT_PLACES = Decimal("0.01")
MAX_PERCENT = 10_000


class Threshold(msgspec.Struct, frozen=True, omit_defaults=True):
    """A percentage of the budget or an amount; exactly one of them."""

    percent: Decimal | None = None
    amount: Decimal | None = None

    @property
    def key(self) -> str:
        """Tells it from the budget's other thresholds: ``80%`` or ``12.5``."""
        if self.percent is not None:
            return f"{plain(self.percent)}%"
        return plain(self.amount or Decimal(0))

    def limit(self, budget: Decimal) -> int:
        """Where it is crossed, in grains of ``money``."""
        if self.percent is None:
            return grains(self.amount or Decimal(0), 1)
        return grains(EXACT.multiply(budget, self.percent).scaleb(-2, EXACT), 1)


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """A budget as it is kept; ``filters`` has the names of ``query.FILTERS`` as keys."""

    id: str
    account_id: str
    name: str
    amount: Decimal
    filters: dict[str, str]
    thresholds: tuple[Threshold, ...]
    url: str
    created_at: str
    updated_at: str

    def crossed(self, spent: int) -> Iterator[Threshold]:
        """The thresholds that a sum, in grains, has reached."""
        return (one for one in self.thresholds if spent >= one.limit(self.amount))


def spent(conn: Connection, budget: Budget, period: str, prices: PriceList, now: datetime) -> int:
    """What a month has cost so far of what a budget is about, in grains."""
    month = month_number(period)
    start, end = month_start(month), month_start(month + 1)
    query = MetricsQuery(
        start=start,
        end=end,
        resolution="monthly",
        filters={FILTERS[name]: value for name, value in budget.filters.items()},
    )
    scope = Scope(account_id=budget.account_id)
    reader = reader_of(conn, scope, query, prices, now)
    return sum(
        one.quantity * prices.rate(one.dimension, one.provider, one.model, one.day)
        for one in reader.totals()
    )


def period_of(now: datetime) -> str:
    """The month of a moment, ``YYYY-MM``."""
    return month_name(millis(now))


def check(wanted: wire.Budget) -> None:
    """Check what a client sent.

    Raises:
        BadRequest: names the field and the fix.
    """
    check_name(wanted.name or "", "name")
    _check_decimal("amount", wanted.amount, LARGEST, AMOUNT_PLACES)
    check_url(wanted.webhook_url)
    if wanted.secret is not None:
        check_secret(wanted.secret)
    if wanted.billing_dimension not in {None, *DIMENSIONS}:
        raise BadRequest(f"billingDimension must be one of {', '.join(DIMENSIONS)}.")
    for name, value in filters_of(wanted).items():
        if not 1 <= len(value) <= MAX_TEXT:
            raise BadRequest(f"{name} must have 1 to {MAX_TEXT} characters.")
    _check_thresholds(wanted.thresholds)


def filters_of(wanted: wire.Budget) -> dict[str, str]:
    """What a budget is about, by parameter of the metrics."""
    given = {
        "workspace": wanted.workspace,
        "resourceType": wanted.resource_type,
        "resourceName": wanted.resource_name,
        "billingDimension": wanted.billing_dimension,
    }
    return {name: value for name, value in given.items() if value is not None}


def thresholds_of(wanted: wire.Budget) -> tuple[Threshold, ...]:
    """The thresholds that a client sent, without what is read only."""
    return tuple(Threshold(one.percent, one.amount) for one in wanted.thresholds)


def _check_thresholds(given: list[wire.BudgetThreshold]) -> None:
    if not 1 <= len(given) <= MAX_THRESHOLDS:
        raise BadRequest(f"thresholds must have 1 to {MAX_THRESHOLDS} entries.")
    for number, one in enumerate(given):
        where = f"thresholds[{number}]"
        if (one.percent is None) == (one.amount is None):
            raise BadRequest(f"{where}: give either percent or amount.")
        if one.percent is not None:
            _check_decimal(f"{where}.percent", one.percent, Decimal(MAX_PERCENT), PERCENT_PLACES)
        if one.amount is not None:
            _check_decimal(f"{where}.amount", one.amount, LARGEST, AMOUNT_PLACES)
    keys = [Threshold(one.percent, one.amount).key for one in given]
    if len(set(keys)) < len(keys):
        raise BadRequest("thresholds names the same threshold twice; name it once.")


def _check_decimal(field: str, value: Decimal, largest: Decimal, places: Decimal) -> None:
    try:
        sound = 0 < value <= largest and value == value.quantize(places, context=EXACT)
    except InvalidOperation:
        sound = False
    if not sound:
        raise BadRequest(
            f"{field} must be a number over 0 and up to {largest:f}, with at most "
            f"{-int(places.adjusted())} decimal places."
        )
