"""Work that is done again and again, whatever becomes of it."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from serai.kernel.errors import ServiceUnavailable

log = structlog.get_logger(__name__)


async def again_and_again(work: Callable[[], Awaitable[None]], seconds: float, failed: str) -> None:
    """Do something at once and then every so many seconds, until cancelled.

    Args:
        work: may fail; the next time it may not.
        seconds: between the end of one time and the next.
        failed: the event that is logged when it does.
    """
    while True:
        try:
            await work()
        except ServiceUnavailable as problem:
            log.warning(failed, problem=problem.message)
        except Exception:
            log.exception(failed)
        await asyncio.sleep(seconds)
