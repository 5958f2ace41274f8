"""Keeping the network of what runs connected while egress processes come and go."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Protocol

import structlog

from serai.egress.setup import EgressProblem
from serai.runtime.port import Runtime, RuntimeProblem, SandboxHandle

CHECK_SECONDS = 5.0
log = structlog.get_logger(__name__)


class Egress(Protocol):
    """The part of ``compute.ports.Egress`` that is needed here."""

    async def attached(self) -> frozenset[str]:
        """The sandboxes whose network is connected. Fails with EgressProblem."""

    async def wait_for_restart(self, seconds: float) -> None:
        """Until networks must be connected anew, or so long."""


async def keep_networks(
    egress: Egress, runtime: Runtime, handles: Callable[[], Iterable[SandboxHandle]]
) -> None:
    """Connect what runs with each new egress process, until cancelled."""
    while True:
        try:
            attached = await egress.attached()
            for handle in handles():
                if handle.id not in attached:
                    await runtime.attach(handle)
        except EgressProblem:
            pass
        except RuntimeProblem as problem:
            log.warning("network_not_attached", reason=str(problem))
        except Exception:
            log.exception("network_check_failed")
        await asyncio.sleep(0)
        await egress.wait_for_restart(CHECK_SECONDS)
