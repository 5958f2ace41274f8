"""Counting and stripping must not depend on where the network cuts a stream."""

import itertools

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from serai.gateway.usage import AnswerMeter, StreamMeter

GAPS = [b"\n\n", b"\r\n\r\n", b"\r\r"]
texts = st.text(max_size=20)


@st.composite
def streams(draw: st.DrawFn) -> tuple[bytes, bytes, int]:
    """A stream, the same without its usage event, and the total it reports."""
    total = draw(st.integers(0, 10**9))
    gap = draw(st.sampled_from(GAPS))
    usage = {"prompt_tokens": total, "completion_tokens": 0, "total_tokens": total}
    events = []
    for text in draw(st.lists(texts, max_size=6)):
        kind = draw(st.sampled_from(["chunk", "comment", "named", "quoting"]))
        if kind == "chunk":
            payload = {"choices": [{"delta": {"content": text}}], "usage": None}
            events.append(b"data: " + msgspec.json.encode(payload))
        elif kind == "quoting":
            payload = {"choices": [{"delta": {"content": text + '"usage"'}}]}
            events.append(b"data:" + msgspec.json.encode(payload))
        elif kind == "named":
            events.append(b"event: x" + gap[: len(gap) // 2] + b"data: 1")
        else:
            events.append(b": ping")
    position = draw(st.integers(0, len(events)))
    last = b"data: " + msgspec.json.encode({"choices": [], "usage": usage})
    whole = [*events[:position], last, *events[position:], b"data: [DONE]"]
    without = [*events, b"data: [DONE]"]
    return gap.join(whole) + gap, gap.join(without) + gap, total


@st.composite
def cuts(draw: st.DrawFn, data: bytes) -> list[bytes]:
    places = sorted(draw(st.sets(st.integers(0, len(data)), max_size=12)) | {0, len(data)})
    return [data[a:b] for a, b in itertools.pairwise(places)]


@given(streams(), st.booleans(), st.data())
def test_stream(stream: tuple[bytes, bytes, int], strip: bool, data: st.DataObject) -> None:
    whole, without, total = stream
    meter = StreamMeter(strip=strip)
    passed = b"".join([meter.feed(piece) for piece in data.draw(cuts(whole))])
    passed += meter.end()
    assert passed == (without if strip else whole)
    assert (meter.tally.counted, meter.tally.total) == (True, total)


@given(st.binary(max_size=200), st.booleans(), st.data())
def test_any_bytes_pass_unchanged(noise: bytes, strip: bool, data: st.DataObject) -> None:
    meter = StreamMeter(strip=strip)
    passed = b"".join([meter.feed(piece) for piece in data.draw(cuts(noise))])
    assert passed + meter.end() == noise


@given(st.integers(0, 10**9), st.integers(0, 10**9), st.data())
def test_answer(received: int, sent: int, data: st.DataObject) -> None:
    body = msgspec.json.encode(
        {"x": "y", "usage": {"input_tokens": received, "output_tokens": sent, "more": {}}}
    )
    meter = AnswerMeter()
    passed = b"".join([meter.feed(piece) for piece in data.draw(cuts(body))])
    assert passed + meter.end() == body
    tally = meter.tally
    assert (tally.input, tally.output, tally.total) == (received, sent, received + sent)


@given(st.binary(max_size=100))
def test_any_answer_passes(body: bytes) -> None:
    meter = AnswerMeter()
    assert meter.feed(body) + meter.end() == body
