"""Counting and stripping must not depend on where the network cuts a stream."""

import itertools
import json

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from serai.gateway.usage import AnswerMeter, LineMeter, StreamMeter

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


SHAPES = [
    ({"usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}}, (3, 4, 7)),
    ({"usage": {"input_tokens": 3, "output_tokens": 4}}, (3, 4, 7)),
    ({"usage": {"prompt_tokens": 3, "total_tokens": 3}}, (3, 0, 3)),
    (
        {
            "usage": {
                "input_tokens": 3,
                "cache_read_input_tokens": 10,
                "cache_creation_input_tokens": 5,
                "output_tokens": 4,
            }
        },
        (18, 4, 22),
    ),
    (
        {
            "usageMetadata": {
                "promptTokenCount": 3,
                "toolUsePromptTokenCount": 1,
                "candidatesTokenCount": 4,
                "thoughtsTokenCount": 2,
                "totalTokenCount": 10,
            }
        },
        (4, 6, 10),
    ),
    (
        {
            "usage": {
                "billed_units": {"input_tokens": 1, "output_tokens": 1},
                "tokens": {"input_tokens": 3.0, "output_tokens": 4.0},
            }
        },
        (3, 4, 7),
    ),
    ({"meta": {"billed_units": {"input_tokens": 3, "output_tokens": 4}}}, (3, 4, 7)),
    ({"prompt_eval_count": 3, "eval_count": 4, "done": True}, (3, 4, 7)),
    ({"x_groq": {"usage": {"prompt_tokens": 3, "completion_tokens": 4}}}, (3, 4, 7)),
    (
        {"type": "response.completed", "response": {"usage": {"input_tokens": 3}}},
        (3, 0, 3),
    ),
    (
        {
            "type": "message-end",
            "delta": {"usage": {"tokens": {"input_tokens": 3, "output_tokens": 4}}},
        },
        (3, 4, 7),
    ),
    (
        {"event_type": "stream-end", "response": {"meta": {"tokens": {"input_tokens": 3}}}},
        (3, 0, 3),
    ),
]


WHOLE = {"usage", "usageMetadata", "meta", "eval_count"}


@pytest.mark.parametrize(("report", "counts"), SHAPES)
def test_every_shape_is_counted_whole_in_events_and_in_lines(
    report: dict[str, object], counts: tuple[int, int, int]
) -> None:
    text = msgspec.json.encode(report)
    for meter, content in (
        (AnswerMeter(), text),
        (AnswerMeter(), b'[{"a":1},' + text + b"]"),
        (LineMeter(), b'{"a":1}\n' + text + b"\n"),
        (LineMeter(), text),
        (StreamMeter(strip=False), b"data: {}\n\ndata: " + text + b"\n\n"),
    ):
        if isinstance(meter, StreamMeter) and b'"usage' not in text:
            continue  # no provider tells these in events
        if isinstance(meter, AnswerMeter) and not report.keys() & WHOLE:
            continue  # or these in whole answers
        for index in range(0, len(content), 7):
            meter.feed(content[index : index + 7])
        meter.end()
        tally = meter.tally
        assert (tally.input, tally.output, tally.total) == counts, (meter, content)


@pytest.mark.parametrize(
    "content",
    [
        b'{"usage":"much"}',
        b'{"usage":{"prompt_tokens":"3"}}',
        b'{"usage":{}}',
        b'{"usage":null}',
        b"[]",
        b"null",
        b'"usage"',
    ],
)
def test_nonsense_counts_nothing_and_is_readable(content: bytes) -> None:
    meter = AnswerMeter()
    meter.feed(content)
    meter.end()
    assert (meter.tally.counted, meter.broken) == (False, False)


@given(st.text(max_size=30), st.data())
def test_a_long_answer_is_counted_by_its_end(text: str, data: st.DataObject) -> None:
    """What a model says, even about usage, is never taken for a report."""
    said = text + ',"usage":{"prompt_tokens":999},'
    whole = {"a": "x" * 1_100_000, "usage": {"prompt_tokens": 3, "more": {"n": 1}}, "b": said}
    meter = AnswerMeter()
    body = msgspec.json.encode(whole)
    cut = data.draw(st.integers(1, len(body)))
    meter.feed(body[:cut])
    meter.feed(body[cut:])
    assert sum(map(len, meter.parts)) <= 128 * 1024
    meter.end()
    assert meter.tally.input == 3


CLAIMS = st.integers(-(10**400), 10**400) | st.floats(allow_nan=False, allow_infinity=False)


@given(CLAIMS, CLAIMS, CLAIMS)
@example(10**400, -(10**400), 0)
def test_whatever_a_provider_claims_can_be_added_up_and_stored(
    sent: float, received: float, details: float
) -> None:
    names = ("prompt_tokens", "completion_tokens", "total_tokens")
    counts = dict.fromkeys(names, sent) | {"prompt_cache_hit_tokens": details}
    counts["completion_tokens"] = received
    meter = AnswerMeter()
    meter.feed(json.dumps({"usage": counts}).encode())
    meter.end()
    tally = meter.tally
    found = (tally.input, tally.output, tally.total, tally.cached)
    assert all(isinstance(number, int) and 0 <= number <= 10**15 for number in found)
