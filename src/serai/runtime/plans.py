"""What every driver checks of a plan, and the limits that follow from it."""

import re

from serai.runtime.messages import Limits
from serai.runtime.port import Incapable, RuntimeProblem, SandboxPlan

_ID = re.compile(r"[a-z0-9]{1,32}")
_HOSTNAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,61}[A-Za-z0-9])?")
_MEMORY_PER_CORE_MB = 2048
_SMALLEST_MEMORY_MB = 32
_SMALLEST_CPU_MILLIS = 10


def check_id(sandbox_id: str) -> None:
    """Refuse what could not name a directory.

    Raises:
        RuntimeProblem: naming the rule.
    """
    if not _ID.fullmatch(sandbox_id):
        raise RuntimeProblem(f"id {sandbox_id!r} must be 1 to 32 of a-z and 0-9")


def check_plan(plan: SandboxPlan) -> None:
    """Refuse a plan that could not work anywhere; the image is the driver's matter.

    Raises:
        RuntimeProblem: naming the field and the rule.
    """
    check_id(plan.id)
    if not _HOSTNAME.fullmatch(plan.hostname):
        raise RuntimeProblem(
            f"hostname {plan.hostname[:80]!r} must be 1 to 63 of a-z, 0-9, dot and hyphen"
        )
    if plan.memory_mb < _SMALLEST_MEMORY_MB:
        raise RuntimeProblem(
            f"memory_mb is {plan.memory_mb}; a sandbox needs at least {_SMALLEST_MEMORY_MB}"
        )


def refuse_memory(plan: SandboxPlan, driver: str) -> None:
    """Refuse a plan with saved processes, for a driver that cannot go on with any.

    Raises:
        Incapable: naming what helps.
    """
    if plan.memory_from:
        raise Incapable(
            f"the runtime {driver} cannot go on with processes that were saved: choose the one "
            "that saved them"
        )


def limits_of(plan: SandboxPlan, max_processes: int) -> Limits:
    """Memory as planned, CPU in proportion to it (the contract: MiB / 2048 cores)."""
    return Limits(
        memory_mb=plan.memory_mb,
        cpu_millis=max(_SMALLEST_CPU_MILLIS, plan.memory_mb * 1000 // _MEMORY_PER_CORE_MB),
        processes=max_processes,
    )
