"""Rules that hold for any input: path mapping, the log splitter, log buffers, form bodies."""

import asyncio
import posixpath
from collections.abc import AsyncIterator
from itertools import pairwise
from urllib.parse import quote

from hypothesis import given
from hypothesis import strategies as st

from serai.sandboxd.logs import STDERR, STDOUT, LineSplitter, LogBuffer, Position
from serai.sandboxd.multipart import FormReader
from serai.sandboxd.paths import Paths
from serai.sandboxd.router import Router

PATHS = Paths(home="/home/me", workdir="/work")
SEGMENT = st.text(
    st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=8
)
ABSOLUTE = st.lists(SEGMENT, min_size=1, max_size=4).map(lambda parts: "/" + "/".join(parts))
PIECES = st.lists(st.tuples(st.sampled_from([STDOUT, STDERR]), st.binary(min_size=1, max_size=40)))


@given(ABSOLUTE)
def test_both_absolute_spellings_are_the_same_file(path: str) -> None:
    expected = posixpath.normpath(path)
    encoded = quote(path, safe="")
    assert PATHS.locate("/" + path, f"/filesystem/{encoded}").real == expected
    assert PATHS.locate("/" + path, f"/filesystem/{quote(path)}").real == expected
    assert PATHS.absolute(path).real == expected


@given(ABSOLUTE)
def test_one_slash_is_relative(path: str) -> None:
    real = PATHS.locate(path, f"/filesystem{quote(path)}").real
    if path.startswith("/~"):
        assert real == posixpath.normpath("/home/me" + path[2:])
    else:
        assert real == posixpath.normpath("/work" + path)


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30))
def test_real_paths_are_absolute_and_clean(name: str) -> None:
    real = PATHS.named(name).real
    assert real.startswith("/")
    assert not real.startswith("//")
    assert posixpath.normpath(real) == real


@given(st.text(max_size=40))
def test_router_never_fails(path: str) -> None:
    async def handler(request: object) -> None:
        raise AssertionError

    router = Router()
    router.add("GET", "/process/{id}/logs", handler)  # type: ignore[arg-type]
    router.add("GET", "/filesystem{path}", handler)  # type: ignore[arg-type]
    found = router._find("GET", "/filesystem/" + path)
    assert found is not None
    assert found[1]["path"] == "/" + path


def split(pieces: list[tuple[int, bytes]], limit: int) -> bytes:
    splitter = LineSplitter(limit)
    return b"".join(splitter.feed(*piece) for piece in pieces) + splitter.flush()


def content(lines: bytes, stream: bytes) -> list[bytes]:
    return [line[7:] for line in lines.split(b"\n") if line.startswith(stream + b":")]


@given(PIECES, st.integers(8, 30))
def test_splitter_loses_nothing_and_keeps_lines_short(
    pieces: list[tuple[int, bytes]], limit: int
) -> None:
    lines = split(pieces, limit)
    assert all(len(line) <= limit + 7 for line in lines.split(b"\n"))
    for stream, name in ((STDOUT, b"stdout"), (STDERR, b"stderr")):
        printed = b"".join(data for of, data in pieces if of == stream)
        assert b"".join(content(lines, name)) == printed.replace(b"\n", b"")


@given(st.binary(max_size=200), st.data())
def test_splitter_does_not_depend_on_how_output_arrives(data: bytes, draw: st.DataObject) -> None:
    cuts = sorted(draw.draw(st.lists(st.integers(0, len(data)), max_size=6)))
    bounds = [0, *cuts, len(data)]
    pieces = [(STDOUT, data[a:b]) for a, b in pairwise(bounds)]
    assert split(pieces, 16) == split([(STDOUT, data)], 16)


@given(st.text(min_size=1, max_size=60))
def test_splitter_keeps_characters_whole(text: str) -> None:
    for line in content(split([(STDOUT, text.encode())], 8), b"stdout"):
        line.decode()


def drain(log: LogBuffer, position: Position) -> list[tuple[int, bytes]]:
    found = []
    while (piece := log.read(position)) is not None:
        found.append(piece)
    return found


@given(
    st.lists(
        st.one_of(
            st.tuples(st.sampled_from([0, 1]), st.binary(min_size=1, max_size=9000)), st.none()
        ),
        max_size=40,
    )
)
def test_readers_see_everything_once_in_order(
    steps: "list[tuple[int, bytes] | None]",
) -> None:
    log, position = LogBuffer(), Position()
    seen: list[tuple[int, bytes]] = []
    for step in steps:
        if step is None:
            seen += drain(log, position)
        else:
            log.append(*step)
    seen += drain(log, position)
    pairs = [(of, byte) for of, data in seen for byte in data]
    assert pairs == [(of, byte) for step in steps if step for of in [step[0]] for byte in step[1]]
    assert not log.missed(position)


@given(st.lists(st.tuples(st.sampled_from([0, 1]), st.binary(min_size=1, max_size=400))))
def test_a_buffer_keeps_the_newest_and_tells_of_loss(pieces: list[tuple[int, bytes]]) -> None:
    limit = 2000
    log, position = LogBuffer(limit), Position()
    for stream, data in pieces:
        log.append(stream, data)
    assert log.cost <= 2 * (limit + 20_000)
    for stream in (STDOUT, STDERR):
        whole = b"".join(data for of, data in pieces if of == stream)
        kept = b"".join(data for of, data in drain(log, Position()) if of == stream)
        assert whole.endswith(kept)
        if kept != whole:
            assert log.missed(position)
            assert log.tail(stream, 10_000).startswith("[... earlier")
    assert not log.missed(position)


async def parsed(body: bytes, cut: int, boundary: bytes) -> list[tuple[str, bytes]]:
    async def source() -> AsyncIterator[bytes]:
        for start in range(0, len(body), cut):
            yield body[start : start + cut]

    form, parts = FormReader(source(), boundary), []
    while (part := await form.next_part()) is not None:
        parts.append((part.name, b"".join([piece async for piece in form.data()])))
    return parts


@given(
    st.lists(
        st.tuples(st.from_regex(r"[a-z]{1,5}", fullmatch=True), st.binary(max_size=60)),
        min_size=1,
        max_size=4,
    ),
    st.integers(1, 50),
    st.binary(max_size=10),
)
def test_form_bodies_in_any_cut(fields: list[tuple[str, bytes]], cut: int, preamble: bytes) -> None:
    boundary = b"QQboundaryQQ"
    body = preamble + b"\r\n" if preamble else b""
    for name, data in fields:
        head = f'Content-Disposition: form-data; name="{name}"'.encode()
        body += b"--" + boundary + b"\r\n" + head + b"\r\n\r\n" + data + b"\r\n"
    body += b"--" + boundary + b"--\r\nepilogue"
    assert asyncio.run(parsed(body, cut, boundary)) == fields
