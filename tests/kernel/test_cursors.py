"""Cursors: round trip, binding, age, and no crash whatever is sent."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serai.kernel.cursors import LIFETIME_SECONDS, CursorCodec
from serai.kernel.errors import BadRequest

codec = CursorCodec(b"key")
positions = st.lists(st.text(), max_size=3)


@given(st.text(), positions)
def test_a_cursor_brings_its_position_back(query: str, position: list[str]) -> None:
    assert codec.decode(query, codec.encode(query, position)) == position


@given(st.text(), st.text(), positions)
def test_a_cursor_is_bound_to_its_query(query: str, other: str, position: list[str]) -> None:
    cursor = codec.encode(query, position)
    if other != query:
        with pytest.raises(BadRequest, match="cursor"):
            codec.decode(other, cursor)
    with pytest.raises(BadRequest):
        CursorCodec(b"another key").decode(query, cursor)


@given(st.text())
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(BadRequest):
        codec.decode("query", text)


def test_a_cursor_lives_a_day() -> None:
    cursor = codec.encode("query", ["a"], at=1000)
    assert codec.decode("query", cursor, at=1000 + LIFETIME_SECONDS) == ["a"]
    with pytest.raises(BadRequest, match="24 hours"):
        codec.decode("query", cursor, at=1001 + LIFETIME_SECONDS)
