"""The life of tasks and executions, as pure functions of what happened.

A task waits, runs, and ends; an attempt that fails leads back to waiting for as long as retries
are left. An execution's status follows from its tasks. Nothing here knows of rows or time.
"""

from datetime import timedelta
from typing import Literal

import msgspec

from serai.wire.jobs import ExecutionStatus, TaskStatus

TaskPhase = Literal["pending", "running", "succeeded", "failed", "cancelled"]
"""Where a task stands; the last three are for good."""

Outcome = Literal["exited", "timeout", "lost", "unstartable"]
"""How an attempt ended: by itself, at its time limit, with its box, or it could not begin."""

LIVE: tuple[ExecutionStatus, ...] = ("queued", "pending", "running", "cancelling")
"""Statuses that an execution may still leave."""

CANCELLED = "The execution was cancelled."

LOSSES_MAX = 5
"""How often a task begins anew because what it ran in was lost, which no retry is spent on."""

BACKOFF_FIRST = timedelta(seconds=1)
BACKOFF_MOST = timedelta(minutes=1)


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """The end of one attempt.

    Attributes:
        outcome: how.
        code: exit code; -1 for a signal, None when nobody knows.
        detail: what else there is to say, for people: its last lines, or a cause.
    """

    outcome: Outcome
    code: int | None = None
    detail: str = ""

    @property
    def succeeded(self) -> bool:
        """Whether the program said that all is well, whatever else happened meanwhile."""
        return self.outcome == "exited" and self.code == 0


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of a task.

    Attributes:
        phase: the next one; ``pending`` for another attempt.
        reason: a word for programs.
        losses: attempts that were lost so far.
        wait: until the next attempt.
    """

    phase: TaskPhase
    reason: str
    losses: int
    wait: timedelta = timedelta()


def judge(
    ended: Ended, attempt: int, losses: int, max_retries: int, *, cancelling: bool
) -> Verdict:
    """What becomes of a task whose attempt ended.

    Args:
        ended: how.
        attempt: which one, from 1.
        losses: how many attempts before were lost.
        max_retries: how many attempts after the first one may follow failures.
        cancelling: whether its execution is being cancelled.
    """
    if ended.succeeded:
        return Verdict(phase="succeeded", reason="SUCCEEDED", losses=losses)
    if cancelling:
        return Verdict(phase="cancelled", reason="CANCELLED", losses=losses)
    if ended.outcome == "lost":
        phase: TaskPhase = "pending" if losses < LOSSES_MAX else "failed"
        return Verdict(phase=phase, reason="INSTANCE_LOST", losses=losses + 1)
    reason = {"timeout": "TIMEOUT", "unstartable": "CANNOT_START"}.get(ended.outcome, "FAILED")
    failures = attempt - losses
    if failures > max_retries:
        return Verdict(phase="failed", reason=reason, losses=losses)
    return Verdict(phase="pending", reason=reason, losses=losses, wait=backoff(failures))


def backoff(failures: int) -> timedelta:
    """How long a task waits after so many failures, from 1: twice as long each time."""
    if failures > 10:
        return BACKOFF_MOST
    return min(BACKOFF_MOST, BACKOFF_FIRST * (1 << (failures - 1)))


class Counts(msgspec.Struct, kw_only=True):
    """How many tasks of an execution are where; ``late`` of the failed ones hit their limit.

    ``retried`` counts attempts after the first, of all tasks.
    """

    total: int
    pending: int = 0
    running: int = 0
    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0
    late: int = 0
    retried: int = 0


def next_status(status: ExecutionStatus, counts: Counts, *, begun: bool) -> ExecutionStatus:
    """The status that follows from where the tasks are.

    Args:
        status: the one so far.
        counts: of its tasks.
        begun: whether any task has ever been started.
    """
    if status not in LIVE:
        return status
    if counts.pending or counts.running:
        if status == "cancelling":
            return status
        return "running" if begun else status
    if status == "cancelling":
        return "cancelled"
    if counts.failed:
        return "timeout" if counts.failed == counts.late else "failed"
    return "cancelled" if counts.cancelled else "succeeded"


def shown_status(phase: TaskPhase, attempt: int) -> TaskStatus:
    """A task's phase in the words of the contract."""
    if phase == "pending":
        return "reconciling" if attempt else "pending"
    return phase
