"""Budgets that refuse: what they have spent is known in memory, call by call.

The sum of a period is read from the usage store now and then; in between, each call that ends is
priced and added at once. So the call that crosses a budget passes, and none that begins after it
has ended: what can be overspent is what runs at the moment of crossing. After a crash the sum is
what the store has, which lacks the calls of the last second.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime

import structlog

from serai.billing.budget_records import find_budgets
from serai.billing.budgets import REFUSE, Budget, bounds, spent
from serai.billing.context import BillingContext
from serai.kernel.errors import SeraiError
from serai.metering.callers import has_label
from serai.metering.models import ModelCall, UsageBuffer, amounts_of
from serai.metering.money import grains, plain, published
from serai.metering.prices import PriceList
from serai.metering.store import UsageStore
from serai.metering.times import millis, moment_of

log = structlog.get_logger(__name__)


class BudgetSpent(SeraiError):
    """A budget that refuses is spent until its period ends (429)."""

    status = 429
    code = "USAGE_LIMIT_EXCEEDED"


class _Watched:
    """A budget, and what its period has cost so far, in grains of ``money``."""

    __slots__ = ("budget", "end", "limit", "period", "prices", "spent")

    def __init__(self, budget: Budget, prices: PriceList, now: datetime) -> None:
        self.budget = budget
        self.prices = prices
        self.limit = grains(budget.amount, 1)
        self.spent = 0
        self.begin(now)

    def begin(self, now: datetime) -> None:
        """A new period."""
        self.period = self.budget.period(now)
        self.end = bounds(self.period)[1]

    def roll(self, now: datetime) -> None:
        """Begin anew if the period is over."""
        if millis(now) >= self.end:
            self.spent = 0
            self.begin(now)

    def add(self, call: ModelCall, moment: datetime) -> None:
        """Add a call to the period that it began in, if that is this one."""
        if self.budget.period(moment) == self.period:
            dimension = self.budget.filters.get("billingDimension")
            self.spent += sum(
                amount * self.prices.rate(name, call.provider, call.model_name, moment.date())
                for name, amount in amounts_of(call)
                if dimension in (None, name)
            )

    def is_about(
        self, account_id: str, workspace: str, model: str, labels: str, credential_id: str
    ) -> bool:
        """Whether the calls of a model by a caller are paid from it."""
        if self.budget.account_id != account_id:
            return False
        filters = self.budget.filters
        label = filters.get("label")
        return (
            filters.get("workspace", workspace) == workspace
            and filters.get("resourceName", model) == model
            and filters.get("apiKey", credential_id) == credential_id
            and (label is None or has_label(labels, label))
        )

    def refusal(self, now: datetime) -> BudgetSpent:
        """Why a call is refused, and until when."""
        budget, reset = self.budget, moment_of(self.end)
        spent_, currency = plain(published(self.spent)), self.prices.currency
        when = f"{reset:%Y-%m-%dT%H:%M:%SZ}"
        return BudgetSpent(
            f"The budget '{budget.name}' of {plain(budget.amount)} {currency} per {budget.per} is"
            f" spent: {spent_} {currency}. It begins anew at {when}; an account admin may raise it"
            f" (PUT /v0/accounts/{budget.account_id}/budgets/{budget.name}).",
            details={
                "budget": budget.name,
                "limit": plain(budget.amount),
                "spent": spent_,
                "currency": currency,
                "per": budget.per,
                "resetAt": when,
            },
            headers={"Retry-After": str(max(1, int((reset - now).total_seconds()) + 1))},
        )


class _Index:
    """Budgets by whose calls they are about, as there may be some of every account.

    Args:
        budgets: all of them.
    """

    def __init__(self, budgets: Iterable[_Watched] = ()) -> None:
        self._found: dict[tuple[str, str], list[_Watched]] = defaultdict(list)
        for one in budgets:
            workspace = one.budget.filters.get("workspace", "")
            self._found[one.budget.account_id, workspace].append(one)

    def near(self, account_id: str, workspace: str) -> Sequence[_Watched]:
        """Those of the account that are about the workspace, or about no workspace alone."""
        found = self._found
        return (*found.get((account_id, ""), ()), *found.get((account_id, workspace), ()))


class Spending:
    """All budgets that refuse.

    Attributes:
        watched: those budgets; where there are none, nothing needs to be noted.
        refusing: one of them is spent.
        changed: called when ``refusing`` may have changed.
        collect: brings into the buffer of calls what was noted and is not there yet.
    """

    def __init__(
        self,
        context: BillingContext,
        store: UsageStore,
        calls: UsageBuffer,
        clock: Callable[[], datetime],
    ) -> None:
        self._context = context
        self._store = store
        self._calls = calls
        self._clock = clock
        self._reloading = asyncio.Lock()
        self._next = _Index()
        self._index = _Index()
        self._again = 0
        """When the first period ends of a budget that is spent, in milliseconds since 1970."""
        self.watched: list[_Watched] = []
        self.refusing = False
        self.changed: Callable[[], None] = lambda: None
        self.collect: Callable[[], None] = lambda: None

    def note(self, call: ModelCall) -> None:
        """A call has ended; from the event loop's thread only."""
        moment, now = datetime.fromtimestamp(call.started, UTC), self._clock()
        about = call.account_id, call.workspace, call.model_name, call.labels, call.credential_id
        for index in (self._index, self._next):
            for one in index.near(*about[:2]):
                one.roll(now)
                if one.is_about(*about):
                    one.add(call, moment)
                    if index is self._index and one.spent >= one.limit:
                        self._spent(one)

    def refusal(
        self, account_id: str, workspace: str, model: str, labels: str, credential_id: str
    ) -> BudgetSpent | None:
        """Why a call may not be made now, if so."""
        now = self._clock()
        if millis(now) >= self._again:
            for one in self.watched:
                one.roll(now)
            self._tell()
        for one in self._index.near(account_id, workspace):
            if one.spent >= one.limit and one.is_about(
                account_id, workspace, model, labels, credential_id
            ):
                return one.refusal(now)
        return None

    async def reload(self) -> None:
        """Read the budgets, and what each has spent up to now."""
        async with self._reloading:
            found = await self._context.db.read(find_budgets)
            fresh = await self._watch([one for one in found if one.action == REFUSE])
            if fresh:
                await self._read(fresh)
            self.watched, self._index = fresh, _Index(fresh)
            self._tell()

    async def _watch(self, budgets: Iterable[Budget]) -> list[_Watched]:
        now, prices = self._clock(), dict[str, PriceList]()
        for one in budgets:
            if one.account_id not in prices:
                prices[one.account_id] = await self._context.prices_of(one.account_id)
        return [_Watched(one, prices[one.account_id], now) for one in budgets]

    async def _read(self, fresh: list[_Watched]) -> None:
        """Fill in what is stored; what ends meanwhile is noted in both lists, old and new."""
        now = self._clock()
        periods = [(one, one.period) for one in fresh]

        def begin() -> None:
            self.collect()
            self._next = _Index(fresh)

        async def read() -> list[int]:
            return await self._context.usage.read_in_thread(
                lambda conn: [
                    spent(conn, one.budget, period, one.prices, now) for one, period in periods
                ]
            )

        try:
            sums = await self._calls.settled(self._store, begin, read)
        finally:
            self._next = _Index()
        for (one, period), cost in zip(periods, sums, strict=True):
            if one.period == period:
                one.spent += cost

    def _spent(self, one: _Watched) -> None:
        """A budget is spent."""
        if not self.refusing or one.end < self._again:
            self._again = one.end
        self.refusing = True
        self.changed()

    def _tell(self) -> None:
        spent_ = [one.end for one in self.watched if one.spent >= one.limit]
        self._again = min(spent_, default=0)
        self.refusing = bool(spent_)
        self.changed()
