"""Billing, put together: its operations and its housekeeping."""

from litestar.types import ControllerRouterHandler

from serai.billing.alerts import BudgetWatch
from serai.billing.budget_endpoints import budget_operations
from serai.billing.closing import Closing
from serai.billing.context import BillingContext, UsageSource
from serai.billing.endpoints import metrics_operations
from serai.billing.export_endpoints import export_operations
from serai.billing.keeper import BillingKeeper
from serai.billing.price_endpoints import price_operations
from serai.billing.spending import Spending
from serai.billing.statement_endpoints import statement_operations
from serai.billing.webhooks import Webhooks
from serai.kernel.clock import now
from serai.metering.models import UsageBuffer
from serai.metering.prices import PriceList
from serai.metering.store import UsageStore
from serai.store.database import Database
from serai.store.reach import unbounded
from serai.store.secrets import Vault


class Billing:
    """Prices, metrics, files, budgets and statements of all accounts.

    Args:
        db: everything but usage.
        usage: where usage is read from, with all that happened.
        store: where the calls of models are written.
        calls: those that are not written yet.
        prices: what the operator's file says.
        vault: for the secrets of webhooks.
        private_webhooks: whether they may go to private addresses.
    """

    def __init__(
        self,
        db: Database,
        usage: UsageSource,
        store: UsageStore,
        calls: UsageBuffer,
        prices: PriceList,
        vault: Vault,
        private_webhooks: bool,
    ) -> None:
        self._context = BillingContext(db, usage, prices, vault, self._changed, self._settle)
        self.spending = Spending(self._context, store, calls, now)
        self._closing = Closing(self._context, now)
        watch = BudgetWatch(self._context, Webhooks(private_webhooks), now)
        self._keeper = BillingKeeper(watch, self._closing, self.spending, now)

    def operations(self) -> list[ControllerRouterHandler]:
        """Everything below ``/v0/accounts``."""
        return [
            *metrics_operations(self._context),
            *export_operations(self._context),
            *price_operations(self._context),
            *budget_operations(self._context),
            *statement_operations(self._context, self._closing),
        ]

    async def prices_of(self, account_id: str) -> PriceList:
        """The prices that hold for an account."""
        return await self._context.prices_of(account_id)

    async def run(self) -> None:
        """Watch budgets and close months until cancelled."""
        await self._keeper.run()

    def _changed(self) -> None:
        self._keeper.wake()

    async def _settle(self) -> None:
        with unbounded("the budgets of all accounts are watched in one list, and none is told"):
            await self.spending.reload()
