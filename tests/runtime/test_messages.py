"""Frames survive any way of cutting the stream."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serai.runtime.messages import Answer, Unframer, frame


@given(
    problems=st.lists(st.text(max_size=50), max_size=8),
    cuts=st.lists(st.integers(min_value=1, max_value=40), min_size=1),
)
def test_any_cut_of_the_stream_gives_the_same_messages(
    problems: list[str], cuts: list[int]
) -> None:
    stream = b"".join(frame(Answer(request=1, problem=problem)) for problem in problems)
    whole = Unframer().feed(stream)
    unframer, pieces, at, turn = Unframer(), [], 0, 0
    while at < len(stream):
        size = cuts[turn % len(cuts)]
        pieces += unframer.feed(stream[at : at + size])
        at, turn = at + size, turn + 1
    assert pieces == whole
    assert len(whole) == len(problems)


def test_a_length_that_nobody_sends_is_refused() -> None:
    with pytest.raises(ValueError, match="4294967295"):
        Unframer().feed(b"\xff\xff\xff\xff")
