"""Saving what is collected in memory, again and again."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from serai.kernel.errors import ServiceUnavailable

log = structlog.get_logger(__name__)


async def keep_saving(
    event: str,
    interval: float,
    save: Callable[[], Awaitable[object]],
    waiting: Callable[[], int],
) -> None:
    """Save until cancelled, then once more.

    Args:
        event: the log line that tells that it could not be saved, and will be tried again.
        interval: seconds between.
        save: writes all there is, or raises and keeps it.
        waiting: how much waits.
    """
    try:
        while True:
            await asyncio.sleep(interval)
            await _try_to(save, event, waiting)
    finally:
        await _try_to(save, event, waiting)


async def _try_to(
    save: Callable[[], Awaitable[object]], event: str, waiting: Callable[[], int]
) -> None:
    try:
        await save()
    except ServiceUnavailable as problem:
        log.warning(event, waiting=waiting(), problem=problem.message)
    except Exception:
        log.exception(event, waiting=waiting())
