"""Budgets: what may be spent in a month or a day, and what happens at which part of it."""

from collections.abc import Iterable, Iterator
from datetime import datetime
from decimal import Decimal, InvalidOperation

import msgspec
from sqlalchemy import Connection

from serai.billing.webhooks import check_secret, check_url
from serai.kernel.errors import BadRequest
from serai.kernel.names import check_name
from serai.metering.answer import reader_of
from serai.metering.callers import Used, callers_used
from serai.metering.dimensions import (
    DIMENSIONS,
    MODEL_INPUT_TOKENS,
    MODEL_OUTPUT_TOKENS,
    MODEL_REQUESTS,
)
from serai.metering.money import EXACT, grains, plain
from serai.metering.prices import PriceList
from serai.metering.query import FILTERS, MetricsQuery
from serai.metering.times import DAY, millis, month_name, month_number, month_start
from serai.metering.usage import Amount, Scope
from serai.wire import billing as wire

NOTIFY, REFUSE = "notify", "refuse"
TOKENS = frozenset({MODEL_INPUT_TOKENS, MODEL_OUTPUT_TOKENS})
MODELS = TOKENS | {MODEL_REQUESTS}
CALLERS = {"apiKey": "credential_id", "label": "label", "resourceName": "model"}
"""Filters by who called what, as ``metering.callers`` has them."""

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
    """A budget as it is kept.

    ``filters`` has the names of ``query.FILTERS`` as keys, and ``apiKey`` and ``label``. ``url`` is
    empty where nobody is told.
    """

    id: str
    account_id: str
    name: str
    amount: Decimal
    filters: dict[str, str]
    thresholds: tuple[Threshold, ...]
    url: str
    created_at: str
    updated_at: str
    action: str = NOTIFY
    per: str = "month"

    @property
    def of_callers(self) -> bool:
        """Whether it is about who called, which usage of resources does not tell."""
        return "apiKey" in self.filters or "label" in self.filters

    def period(self, now: datetime) -> str:
        """The period of a moment: ``YYYY-MM``, or ``YYYY-MM-DD`` for a budget of a day."""
        return f"{now:%Y-%m-%d}" if self.per == "day" else month_name(millis(now))

    def crossed(self, spent: int) -> Iterator[Threshold]:
        """The thresholds that a sum, in grains, has reached."""
        return (one for one in self.thresholds if spent >= one.limit(self.amount))


def bounds(period: str) -> tuple[int, int]:
    """Where a period begins and ends, in milliseconds since 1970."""
    if len(period) > len("YYYY-MM"):
        start = millis(datetime.fromisoformat(f"{period}T00:00:00+00:00"))
        return start, start + DAY
    month = month_number(period)
    return month_start(month), month_start(month + 1)


def used(
    conn: Connection, budget: Budget, period: str, prices: PriceList, now: datetime
) -> Iterator[Amount | Used]:
    """What was used so far in a period of what a budget is about."""
    start, end = bounds(period)
    if budget.of_callers:
        wanted = {CALLERS.get(name, name): value for name, value in budget.filters.items()}
        dimension = wanted.pop("billingDimension", None)
        wanted.pop("resourceType", None)
        found = callers_used(conn, budget.account_id, start, end, wanted)
        yield from (one for one in found if dimension in (None, one.dimension))
        return
    query = MetricsQuery(
        start=start,
        end=end,
        resolution="daily" if budget.per == "day" else "monthly",
        filters={FILTERS[name]: value for name, value in budget.filters.items()},
    )
    yield from reader_of(conn, Scope(account_id=budget.account_id), query, prices, now).totals()


def cost_of(amounts: Iterable[Amount | Used], prices: PriceList) -> int:
    """What was used, priced, in grains."""
    return sum(
        one.quantity * prices.rate(one.dimension, one.provider, one.model, one.day)
        for one in amounts
    )


def spent(conn: Connection, budget: Budget, period: str, prices: PriceList, now: datetime) -> int:
    """What a period has cost so far of what a budget is about, in grains."""
    return cost_of(used(conn, budget, period, prices, now), prices)


def unpriced(amounts: Iterable[Amount | Used], prices: PriceList) -> list[str]:
    """The models whose tokens were used without a price."""
    return sorted(
        {
            one.model
            for one in amounts
            if one.dimension in TOKENS
            and one.quantity
            and prices.price(one.dimension, one.provider, one.model, one.day) is None
        }
    )


def check(wanted: wire.Budget) -> None:
    """Check what a client sent.

    Raises:
        BadRequest: names the field and the fix.
    """
    check_name(wanted.name or "", "name")
    _check_decimal("amount", wanted.amount, LARGEST, AMOUNT_PLACES)
    if wanted.webhook_url is not None:
        check_url(wanted.webhook_url)
        _check_thresholds(wanted.thresholds)
    elif wanted.action != REFUSE or wanted.thresholds or wanted.secret is not None:
        raise BadRequest(
            "webhookUrl is missing: whom to tell when thresholds are crossed. Only a budget whose"
            " action is refuse goes without, and then has no thresholds and no secret."
        )
    if wanted.secret is not None:
        check_secret(wanted.secret)
    if wanted.billing_dimension not in {None, *DIMENSIONS}:
        raise BadRequest(f"billingDimension must be one of {', '.join(DIMENSIONS)}.")
    for name, value in filters_of(wanted).items():
        if not 1 <= len(value) <= MAX_TEXT:
            raise BadRequest(f"{name} must have 1 to {MAX_TEXT} characters.")
    _check_calls(wanted)


def _check_calls(wanted: wire.Budget) -> None:
    """Only calls of models are refused, and only they have a key and labels."""
    if not (wanted.api_key or wanted.label or wanted.action == REFUSE):
        return
    if wanted.resource_type not in {None, "model"}:
        raise BadRequest(
            "resourceType must be model, or be left out: apiKey, label and the action refuse are"
            " about calls of models."
        )
    if wanted.billing_dimension not in {None, *MODELS}:
        raise BadRequest(
            f"billingDimension must be one of {', '.join(sorted(MODELS))}: apiKey, label and the"
            " action refuse are about calls of models."
        )
    name, is_, value = (wanted.label or "name=value").partition("=")
    if not (name and is_ and value):
        raise BadRequest("label must be of the form NAME=VALUE, for example team=red.")


def filters_of(wanted: wire.Budget) -> dict[str, str]:
    """What a budget is about, by parameter of the metrics."""
    given = {
        "workspace": wanted.workspace,
        "resourceType": wanted.resource_type,
        "resourceName": wanted.resource_name,
        "billingDimension": wanted.billing_dimension,
        "apiKey": wanted.api_key,
        "label": wanted.label,
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
