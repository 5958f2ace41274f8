"""Who has spent their tokens or their money, known without asking the store."""

import asyncio
from typing import TYPE_CHECKING

import structlog

from serai.billing.spending import Spending
from serai.identity.principal import Principal
from serai.kernel.errors import SeraiError
from serai.resources.quotas import token_limits, token_refusal, tokens_used
from serai.store.database import Database

if TYPE_CHECKING:
    from serai.gateway.routes import ModelRoute

REFRESH_SECONDS = 1.0
log = structlog.get_logger(__name__)


class Allowance:
    """Refusals of model calls: by quotas of accounts and workspaces, and by budgets.

    Attributes:
        active: somebody is refused; while it is False nothing else needs to be asked.
    """

    def __init__(self, db: Database, usage: Database, spending: Spending) -> None:
        self._db = db
        self._usage = usage
        self._spending = spending
        self._refusals: dict[tuple[str, str], SeraiError] = {}
        self.active = False
        spending.changed = self._decide

    def refusal(self, route: "ModelRoute", principal: Principal) -> SeraiError | None:
        """Why no call of this model may be made now, if so."""
        refusals = self._refusals
        account_id, workspace = route.account_id, route.workspace
        spent = refusals.get((account_id, workspace)) or refusals.get((account_id, ""))
        if spent is not None or not self._spending.refusing:
            return spent
        return self._spending.refusal(
            account_id, workspace, route.name, route.labels, principal.credential_id
        )

    def _decide(self) -> None:
        self.active = bool(self._refusals) or self._spending.refusing

    async def refresh(self) -> None:
        """Read the limits and what is used of them."""
        limits = await self._db.read(token_limits)
        used = await self._usage.read(lambda conn: tokens_used(conn, limits)) if limits else {}
        self._refusals = {
            (limit.account_id, limit.workspace): refusal
            for limit, tokens in used.items()
            if (refusal := token_refusal(limit, tokens)) is not None
        }
        self._decide()

    async def run(self) -> None:
        """Stay up to date for ever."""
        while True:
            try:
                await self.refresh()
            except Exception:
                log.exception("allowance_failed")
            await asyncio.sleep(REFRESH_SECONDS)
