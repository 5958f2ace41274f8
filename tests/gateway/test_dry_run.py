"""Dry runs of token policies: they decide as the policy itself would have decided."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serai.gateway.models.dry_run import MadeCall, dry_run
from serai.gateway.models.token_policies import (
    PolicyViolated,
    Reservation,
    TokenPolicies,
    TokenPolicy,
)

STEPS = st.lists(
    st.tuples(
        st.floats(0.001, 40), st.floats(0, 90), st.integers(0, 30), st.integers(0, 30),
        st.sampled_from(["a", "b"]),
    ),
    max_size=40,
)  # fmt: skip
LIMITS = st.fixed_dictionaries(
    {"total": st.integers(0, 80), "output": st.integers(0, 40), "ratio": st.integers(0, 3)}
)


def calls_of(steps) -> list[MadeCall]:
    began, calls = 1000.0, []
    for number, (gap, lasts, received, sent, model) in enumerate(steps):
        began += gap
        calls.append(
            MadeCall(began, began + lasts, model, model, f"r{number}", received, sent)
        )  # fmt: skip
    return calls


def in_earnest(policy: TokenPolicy, calls: list[MadeCall]) -> list[bool]:
    """Refused or not by the policy itself, with a clock that stands at each beginning and end."""
    clock = [0.0]
    policies = TokenPolicies(clock=lambda: clock[0])
    moments = [(call.began, 1, number) for number, call in enumerate(calls)]
    moments += [(call.ended, 0, number) for number, call in enumerate(calls)]
    refused, held = [False] * len(calls), {}
    for moment, begins, number in sorted(moments):
        clock[0], call = moment, calls[number]
        if begins:
            need = Reservation(call.resource_id, call.received, call.sent)
            try:
                held[number] = policies.admit(
                    call.resource_id, (policy,), need if policy.strict else None
                )
            except PolicyViolated:
                refused[number] = True
        elif not refused[number] and call.ended > call.began:
            end(policies, policy, call, held[number])
        if begins and not refused[number] and call.ended == call.began:
            end(policies, policy, call, held[number])
    return refused


def end(policies: TokenPolicies, policy: TokenPolicy, call: MadeCall, held) -> None:
    if held is not None:
        policies.release(held)
    policies.note(call.resource_id, (policy,), call.received, call.sent)


@given(STEPS, LIMITS, st.booleans())
def test_a_dry_run_decides_as_the_policy_does(steps, limits, strict: bool) -> None:
    policy = TokenPolicy(name="p", granularity="minute", strict=strict, **limits)
    calls = calls_of(steps)
    verdicts = list(dry_run(policy, calls))
    assert [verdict.call for verdict in verdicts] == calls
    assert [one.reached is not None for one in verdicts] == in_earnest(policy, calls)


@pytest.mark.parametrize("strict", [False, True])
def test_a_refusal_names_the_limit_and_the_end_of_its_window(strict: bool) -> None:
    policy = TokenPolicy(name="p", granularity="minute", total=10, strict=strict)
    calls = [MadeCall(120.0 + n, 120.5 + n, "m", "m", f"r{n}", 4, 2) for n in range(4)]
    refused = [one for one in dry_run(policy, calls) if one.reached]
    assert [one.call.request_id for one in refused] == (
        ["r1", "r2", "r3"] if strict else ["r2", "r3"]
    )
    assert {one.reset for one in refused} == {180.0}
    assert refused[0].reached.told() == {"tokens": "total", "value": 10, "used": 12}
