"""The rules of spec.revision hold for any sequence of wishes."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from serai.kernel.errors import BadRequest
from serai.resources.routing import first_route, next_route

ids = st.sampled_from(["r0", "r1", "r2", "r3", ""])
wishes = st.fixed_dictionaries(
    {},
    optional={
        "active": ids,
        "canary": ids,
        "canaryPercent": st.integers(0, 100),
        "traffic": st.integers(0, 100),
        "stickySessionTtl": st.integers(0, 100),
    },
)


@given(steps=st.lists(st.tuples(st.one_of(st.none(), wishes), st.booleans()), max_size=8))
def test_one_revision_is_active_and_a_canary_is_another(steps: Any) -> None:
    known = ["r0"]
    route = first_route(None, "r0")
    for sent, adds in steps:
        new = f"r{len(known)}" if adds else None
        try:
            after = next_route(known, route, sent, new)
        except BadRequest:
            continue
        known += [new] if new else []
        assert after["active"] in known
        assert ("canary" in after) == ("canaryPercent" in after)
        if "canary" in after:
            assert after["canary"] in known
            assert after["canary"] != after["active"]
            assert 0 <= after["canaryPercent"] <= 100
        if not sent and not new:
            assert after == route
        assert next_route(known, after, after, None) == after
        route = after
