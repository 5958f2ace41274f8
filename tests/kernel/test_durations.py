"""Durations as clients write them."""

import re
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serai.kernel.durations import parse_duration
from serai.kernel.errors import BadRequest

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


@given(st.integers(0, 500), st.sampled_from(sorted(UNITS)))
def test_a_number_and_a_unit(number: int, unit: str) -> None:
    assert parse_duration(f"{number}{unit}", "x") == timedelta(seconds=number * UNITS[unit])


@given(st.text().filter(lambda text: not re.fullmatch("[0-9]{1,9}[smhdw]", text)))
def test_anything_else_names_the_field(text: str) -> None:
    with pytest.raises(BadRequest, match=r"^spec\.ttl "):
        parse_duration(text, "spec.ttl")


@pytest.mark.parametrize(
    "text", ["", "5", "m", "-1s", "1.5h", "1 h", "٣s", "9999999999s", "999999999w"]
)
def test_not_durations(text: str) -> None:
    with pytest.raises(BadRequest):
        parse_duration(text, "x")
