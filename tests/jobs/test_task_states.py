"""The life of tasks and executions, for every order of what may happen."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from serai.compute.task_states import (
    BACKOFF_FIRST,
    BACKOFF_MOST,
    LIVE,
    LOSSES_MAX,
    Counts,
    Ended,
    backoff,
    judge,
    next_status,
    shown_status,
)

ENDS = st.one_of(
    st.builds(Ended, outcome=st.just("exited"), code=st.sampled_from([0, 1, -1, 137, None])),
    st.builds(Ended, outcome=st.just("timeout"), code=st.sampled_from([-1, 143, None])),
    st.builds(Ended, outcome=st.sampled_from(["lost", "unstartable"])),
)


@given(st.lists(ENDS, max_size=60), st.integers(0, 6), st.integers(0, 60))
def test_every_task_comes_to_one_end(ends: list[Ended], retries: int, cancel_after: int) -> None:
    """Attempts follow each other until one is the last, however they end."""
    attempt = losses = failures = 0
    for number, ended in enumerate(ends):
        attempt += 1
        cancelling = number >= cancel_after
        verdict = judge(ended, attempt, losses, retries, cancelling=cancelling)
        lost = ended.outcome == "lost"
        assert verdict.losses == losses + (lost and not cancelling)
        losses = verdict.losses
        failures += not ended.succeeded and not lost
        if verdict.phase != "pending":
            assert (verdict.phase == "succeeded") == ended.succeeded
            assert (verdict.phase == "cancelled") == (cancelling and not ended.succeeded)
            assert attempt <= 1 + retries + LOSSES_MAX
            return
        assert not ended.succeeded
        assert not cancelling
        assert failures <= retries or lost
        assert verdict.wait == (timedelta() if lost else backoff(failures))
    assert attempt <= retries + LOSSES_MAX


@given(st.integers(1, 1000))
def test_the_wait_grows_to_a_limit(failures: int) -> None:
    assert BACKOFF_FIRST <= backoff(failures) <= backoff(failures + 1) <= BACKOFF_MOST


@given(
    st.sampled_from(["pending", "running", "succeeded", "failed", "cancelled"]), st.integers(0, 9)
)
def test_the_status_of_a_task_is_one_of_the_contract(phase: str, attempt: int) -> None:
    shown = shown_status(phase, attempt)  # type: ignore[arg-type]
    assert (shown == "reconciling") == (phase == "pending" and attempt > 0)


NUMBERS = st.integers(0, 5)


@given(NUMBERS, NUMBERS, NUMBERS, NUMBERS, NUMBERS, NUMBERS, st.sampled_from(LIVE), st.booleans())
def test_the_status_of_an_execution_follows_from_its_tasks(
    pending: int,
    running: int,
    succeeded: int,
    failed: int,
    late: int,
    cancelled: int,
    status: str,
    begun: bool,
) -> None:
    late = min(late, failed)
    total = pending + running + succeeded + failed + cancelled
    counts = Counts(total=total, pending=pending, running=running, succeeded=succeeded)
    counts.failed, counts.late, counts.cancelled = failed, late, cancelled
    after = next_status(status, counts, begun=begun)  # type: ignore[arg-type]
    over = not pending and not running
    assert (after not in LIVE) == over
    if status == "cancelling":
        assert after == ("cancelled" if over else "cancelling")
    elif not over:
        assert after == ("running" if begun else status)
    elif failed:
        assert after == ("timeout" if late == failed else "failed")
    assert next_status(after, counts, begun=begun) == after
