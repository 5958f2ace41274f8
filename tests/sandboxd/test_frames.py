"""WebSocket frames: whatever the cut, the same messages; whatever the bytes, a clear end."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serai.kernel.errors import BadRequest
from serai.sandboxd.mcp import Fault, McpRoutes
from serai.sandboxd.monitors import parse_callback
from serai.sandboxd.process_routes import decode_request
from serai.sandboxd.terminal_routes import size_of
from serai.sandboxd.terminals import READ_SIZE, Tail
from serai.sandboxd.websocket import FrameReader, Message, Violation, frame, unmask
from serai.wire.tunnels import read_tunnel

MASK = st.binary(min_size=4, max_size=4)


def from_client(opcode: int, data: bytes, mask: bytes, *, final: bool = True) -> bytes:
    """A frame as a client sends it, made from the server's own."""
    whole = frame(opcode, data)
    head = whole[: len(whole) - len(data)]
    first = head[0] if final else head[0] & 0x7F
    return bytes((first, head[1] | 0x80)) + head[2:] + mask + unmask(data, mask)


@st.composite
def conversations(draw: st.DrawFn) -> tuple[bytes, list[Message]]:
    """Bytes of some messages, in fragments with control frames between them."""
    sent, expected = b"", []
    for _ in range(draw(st.integers(0, 4))):
        opcode = draw(st.sampled_from([1, 2]))
        parts = draw(st.lists(st.binary(max_size=300), min_size=1, max_size=4))
        for number, part in enumerate(parts):
            final = number == len(parts) - 1
            sent += from_client(0 if number else opcode, part, draw(MASK), final=final)
            if draw(st.booleans()) and not final:
                ping = draw(st.binary(max_size=125))
                sent += from_client(9, ping, draw(MASK))
                expected.append(Message(9, ping))
        expected.append(Message(opcode, b"".join(parts)))
    return sent, expected


@given(conversations(), st.data())
def test_messages_do_not_depend_on_how_bytes_arrive(
    conversation: tuple[bytes, list[Message]], data: st.DataObject
) -> None:
    sent, expected = conversation
    cuts = sorted(data.draw(st.lists(st.integers(0, len(sent)), max_size=8)))
    reader = FrameReader()
    got = [
        message
        for start, end in pairwise([0, *cuts, len(sent)])
        for message in reader.feed(sent[start:end])
    ]
    assert got == expected


@given(st.binary(max_size=400))
def test_any_bytes_are_frames_or_a_violation(data: bytes) -> None:
    code = 1002
    try:
        for message in FrameReader(100).feed(data):
            assert len(message.data) <= 125
    except Violation as violation:
        code = violation.code
    assert code in (1002, 1009)


@given(st.lists(st.binary(min_size=60, max_size=60), min_size=2, max_size=5), MASK)
def test_fragments_cannot_add_up_over_the_limit(parts: list[bytes], mask: bytes) -> None:
    reader = FrameReader(100)
    first, *rest = (
        from_client(0 if number else 2, part, mask, final=False)
        for number, part in enumerate(parts)
    )
    assert list(reader.feed(first)) == []
    with pytest.raises(Violation) as refused:
        list(reader.feed(b"".join(rest)))
    assert refused.value.code == 1009


@given(st.binary(max_size=70_000), MASK)
def test_masks_undo_themselves(data: bytes, mask: bytes) -> None:
    assert unmask(unmask(data, mask), mask) == data


@given(st.lists(st.binary(min_size=1, max_size=3000), max_size=60), st.data())
def test_a_tail_shows_everything_or_skips_to_the_newest(
    pieces: list[bytes], data: st.DataObject
) -> None:
    limit = 5000
    tail, position, seen, skipped = Tail(limit), 0, b"", False
    for piece in pieces:
        tail.append(piece)
        assert tail.end - tail.start <= limit + READ_SIZE
        if data.draw(st.booleans()):
            at, found = tail.read(position, 1 << 20)
            skipped |= at != position
            seen += found
            position = at + len(found)
            assert position == tail.end
    whole = b"".join(pieces)
    if not skipped:
        assert whole[: len(seen)] == seen
    late = tail.read(0, 1 << 20)[1]
    assert whole.endswith(late)


@given(st.text(max_size=20), st.text(max_size=20))
def test_sizes_are_always_sensible(cols: str, rows: str) -> None:
    size = size_of(cols, rows)
    assert 1 <= size.cols <= 1000
    assert 1 <= size.rows <= 1000


@given(st.text(max_size=60))
def test_callbacks_are_understood_or_refused(url: str) -> None:
    try:
        callback = parse_callback(f"http://{url}")
    except BadRequest:
        return
    assert "\n" not in callback.target + callback.host_header
    assert 0 < callback.port < 65536


@given(st.binary(max_size=60))
def test_process_requests_and_tunnels_never_break(data: bytes) -> None:
    for parse, error in ((decode_request, BadRequest), (read_tunnel, ValueError)):
        try:
            parse(data if parse is decode_request else data.decode("latin-1"))  # type: ignore[operator]
        except error:
            continue


@given(
    st.dictionaries(
        st.sampled_from(["name", "arguments", "level", "protocolVersion"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=5),
            lambda inner: (
                st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2)
            ),
            max_leaves=5,
        ),
    ),
    st.sampled_from(["initialize", "ping", "tools/list", "tools/call", "logging/setLevel", "x"]),
)
async def test_any_parameters_of_mcp_calls(params: dict[str, object], method: str) -> None:
    code = -32601
    try:
        await McpRoutes([])._handle(method, params)
    except Fault as fault:
        code = fault.code
    assert code in (-32601, -32602)
