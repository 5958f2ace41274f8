"""Which accounts and workspaces have spent their tokens, known without asking the store."""

import asyncio

import structlog

from serai.kernel.errors import SeraiError
from serai.resources.quotas import token_limits, token_refusal, tokens_used
from serai.store.database import Database

REFRESH_SECONDS = 1.0
log = structlog.get_logger(__name__)


class Allowance:
    """Refusals of model calls by account and workspace; empty while nobody is over a limit."""

    def __init__(self, db: Database, usage: Database) -> None:
        self._db = db
        self._usage = usage
        self.refusals: dict[tuple[str, str], SeraiError] = {}

    def refusal(self, account_id: str, workspace: str) -> SeraiError | None:
        """Why no model call may be made now, if so."""
        refusals = self.refusals
        return refusals.get((account_id, workspace)) or refusals.get((account_id, ""))

    async def refresh(self) -> None:
        """Read the limits and what is used of them."""
        limits = await self._db.read(token_limits)
        used = await self._usage.read(lambda conn: tokens_used(conn, limits)) if limits else {}
        self.refusals = {
            (limit.account_id, limit.workspace): refusal
            for limit, tokens in used.items()
            if (refusal := token_refusal(limit, tokens)) is not None
        }

    async def run(self) -> None:
        """Stay up to date for ever."""
        while True:
            try:
                await self.refresh()
            except Exception:
                log.exception("allowance_failed")
            await asyncio.sleep(REFRESH_SECONDS)
