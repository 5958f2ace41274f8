"""The model's name in forms: whatever the pieces they arrive in, and whatever else they hold."""

import asyncio
import email.parser
import email.policy
import itertools
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from serai.gateway.models.forms import FormRewriter, boundary_of, rewrite_form

from .world import Client, World

PATH = "/main/models/llm/v1/audio/transcriptions"


def part(name: str, value: bytes, *, more: str = "") -> bytes:
    head = f'Content-Disposition: form-data; name="{name}"{more}\r\n\r\n'
    return head.encode() + value


def form(boundary: bytes, *parts: bytes) -> bytes:
    opened = b"".join(b"--%b\r\n%b\r\n" % (boundary, part) for part in parts)
    return opened + b"--%b--\r\n" % boundary


def fields_of(body: bytes, boundary: bytes) -> list[tuple[str, bytes]]:
    """The fields as another parser reads them."""
    head = b'Content-Type: multipart/form-data; boundary="%b"\r\n\r\n' % boundary
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + body)
    return [
        (each.get_param("name", header="content-disposition"), each.get_payload(decode=True))
        for each in message.get_payload()
    ]


FILE = st.lists(
    st.binary(max_size=20)
    | st.sampled_from([b"\r\n--", b"\r\n--b", b"\r", b"\n", b"--b", b"\r\n--b ", b"\r\n--bx\r\n"]),
    max_size=8,
).map(b"".join)


@given(FILE, FILE, st.lists(st.integers(0, 400), max_size=12), st.booleans())
@example(b"", b"", [1], True)
def test_only_the_value_changes(first: bytes, old: bytes, cuts: list[int], in_front: bool) -> None:
    boundary = b"b-0"
    file = part("file", first, more='; filename="model"')
    named = part("model", old)
    parts = [named, file] if in_front else [file, named]
    body = form(boundary, *parts, part("note", b"model"))
    rewriter = FormRewriter(boundary, "real")
    edges = sorted({0, len(body), *(cut for cut in cuts if cut < len(body))})
    pieces = [body[start:end] for start, end in itertools.pairwise(edges)]
    sent = b"".join(map(rewriter.feed, pieces)) + rewriter.end()
    new = part("model", b"real")
    expected = [new, file] if in_front else [file, new]
    assert sent == form(boundary, *expected, part("note", b"model"))


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=6))
def test_what_is_no_form_passes(body: bytes, cuts: list[int]) -> None:
    rewriter = FormRewriter(b"b", "real")
    edges = sorted({0, len(body), *(cut for cut in cuts if cut < len(body))})
    pieces = [body[start:end] for start, end in itertools.pairwise(edges)]
    sent = b"".join(map(rewriter.feed, pieces)) + rewriter.end()
    assert sent == body or b"name" in body


@pytest.mark.parametrize(
    ("head", "changes"),
    [
        ('Content-Disposition: form-data; name="model"', True),
        ("content-disposition:form-data;name=model", True),
        ('Content-Type: text/plain\r\nContent-Disposition: form-data; name="model"', True),
        ('Content-Disposition: form-data; name="model"; filename="m"', False),
        ('Content-Disposition: form-data; name="models"', False),
        ('Content-Disposition: attachment; name="model"', False),
        ('X-Content-Disposition: form-data; name="model"', False),
        ("Content-Type: text/plain", False),
    ],
)
def test_which_part_is_the_model(head: str, changes: bool) -> None:
    body = form(b"b", head.encode() + b"\r\n\r\nold")
    expected = form(b"b", head.encode() + b"\r\n\r\n" + (b"real" if changes else b"old"))
    assert rewrite_form(body, b"b", "real") == expected


@pytest.mark.parametrize(
    ("kind", "boundary"),
    [
        (b"multipart/form-data; boundary=x", b"x"),
        (b'Multipart/Form-Data; charset=utf-8; boundary="a b"', b"a b"),
        (b"multipart/form-data", None),
        (b"multipart/mixed; boundary=x", None),
        (b"application/json", None),
    ],
)
def test_boundary(kind: bytes, boundary: bytes | None) -> None:
    assert boundary_of(kind) == boundary


async def test_form_in_one_piece(world: World, client: Client) -> None:
    body = form(b"x", part("model", b"llm"), part("file", b"sound", more='; filename="a.wav"'))
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    answer = await client.ask(PATH, method="POST", body=body, headers=headers)
    assert answer.status == 200
    (request,) = world.model.requests
    assert fields_of(request.body, b"x") == [("model", b"gpt-real"), ("file", b"sound")]
    assert request.headers["content-length"] == str(len(request.body))


@pytest.mark.parametrize("chunked", [False, True])
async def test_form_streams(world: World, client: Client, chunked: bool) -> None:
    sound = b"s" * 1_200_000
    file = part("file", sound, more='; filename="a.wav"')
    body = form(b"x", file, part("model", b"llm"))
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    framing = {"Transfer-Encoding": "chunked"} if chunked else {"Content-Length": str(len(body))}
    client.send(PATH, method="POST", headers=headers | framing)
    await asyncio.sleep(0.05)
    for start in range(0, len(body), 100_000):
        piece = body[start : start + 100_000]
        client.writer.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
        await asyncio.sleep(0.005)
    if chunked:
        client.writer.write(b"0\r\n\r\n")
    assert (await client.answer()).status == 200
    (request,) = world.model.requests
    assert fields_of(request.body, b"x") == [("file", sound), ("model", b"gpt-real")]
    assert "content-length" not in request.headers


async def test_form_without_a_name_to_put_in_passes(world: World, client: Client) -> None:
    world.add_model("open", f"http://127.0.0.1:{world.model_port}")
    body = form(b"x", part("model", b"mine"))
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    path = PATH.replace("llm", "open")
    await client.ask(path, method="POST", body=body, headers=headers)
    assert world.model.requests[0].body == body


def test_many_small_parts_take_no_square_of_time() -> None:
    body = form(b"b", *[part("a", b"")] * 40_000)
    before = time.process_time()
    assert rewrite_form(body, b"b", "real") == body
    once = time.process_time() - before
    assert once < 50 * _time_of_a_tenth()


def _time_of_a_tenth() -> float:
    body = form(b"b", *[part("a", b"")] * 4_000)
    before = time.process_time()
    rewrite_form(body, b"b", "real")
    return time.process_time() - before
