"""What is taken out of text before it is kept, and what stays."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serai.identity.keys import new_key
from serai.telemetry.redaction import MOST_TEXT, Redactor
from serai.telemetry.shapes import answer_shape, request_shape
from serai.telemetry.streams import put_together


def redacted(text: str) -> str:
    return Redactor().text(text)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("write to jane.doe+x@mail.example.co.uk now", "write to [email] now"),
        ("mailto:a@b.io,c@d.org", "mailto:[email],[email]"),
        ("call +49 (0)30 1234-5678 today", "call [phone] today"),
        ("call 555-123-4567.", "call [phone]."),
        ("call (555) 123-4567 or 030 12345678", "call [phone] or [phone]"),
        ("+14155552671", "[phone]"),
        ("card 4111 1111 1111 1111 ok", "card [card] ok"),
        ("card 5500-0000-0000-0004", "card [card]"),
        ("378282246310005", "[card]"),
        ("key sk-proj-abcdefghijklmnop1234 end", "key [key] end"),
        ("sk-ant-api03-AAAAAAAAAAAAAAAAAAAA", "[key]"),
        ("AKIAIOSFODNN7EXAMPLE", "[key]"),
        ("token ghp_abcdefghijklmnopqrstuvwxyz0123456789", "token [key]"),
        ("Authorization: Bearer abcdefghijklmnop.qrst", "Authorization: [key]"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0xx.c2lnbmF0dXJl", "[key]"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----!", "[key]!"),
    ],
)
def test_what_has_a_form_of_its_own_is_replaced(text: str, kept: str) -> None:
    assert redacted(text) == kept


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-26 05:12:35", "192.168.100.200", "4111 1111 1111 1112", "1764130000", "3.14159265",
        "12345678901234567890123", "user@host", "an @mention", "sk-short", "1,000,000", "§ 12 (3)",
        "order 100-200", "0000 0000 0000 0000", "https://example.com/a/b?c=1", "v1.2.3-rc.4",
    ],
)  # fmt: skip
def test_what_only_looks_like_it_stays(text: str) -> None:
    assert redacted(text) == text


def test_our_own_keys_are_found() -> None:
    assert redacted(f"use {new_key()} here") == "use [key] here"


@given(st.text(max_size=300))
def test_any_text_is_read_twice_alike(text: str) -> None:
    once = redacted(text)
    assert len(once) <= max(len(text) * 7, 0)
    redacted(once)


@pytest.mark.parametrize("text", ["a@" * 40_000, "1" * 60_000, "1-" * 30_000, "+1 " * 20_000,
                                  "-----BEGIN PRIVATE KEY-----" * 2000, "a.b@c." * 10_000,
                                  "(0" * 30_000, "eyJaaaaaaaa." * 5000])  # fmt: skip
def test_hostile_text_takes_no_time(text: str) -> None:
    assert len(redacted(text)) <= MOST_TEXT * 3


def test_values_are_redacted_wherever_they_stand() -> None:
    redactor = Redactor()
    value = {"a@b.io": [1, True, None, {"x": "mail c@d.org"}]}
    assert redactor.value(value) == {"[email]": [1, True, None, {"x": "mail [email]"}]}
    assert redactor.found == {"email": 2}


SECRET = "Jane Doe says 4111111111111111"


def test_a_shape_has_no_content() -> None:
    body = {
        "model": "m", "user": SECRET, "temperature": 0.5, "stream": True, SECRET: 1,
        "messages": [
            {"role": "system", "content": SECRET},
            {"role": SECRET, "content": [{"type": "text", "text": SECRET}]},
        ],
        "tools": [{"type": "function", "function": {"name": "look_up"}}, {"name": SECRET}],
    }  # fmt: skip
    shape = request_shape(json.dumps(body).encode())
    assert SECRET not in json.dumps(shape)
    assert shape["roles"] == ["system", "?"]
    assert shape["lengths"][0] == len(SECRET)
    assert shape["tools"] == ["look_up", "?"]
    assert shape["parameters"] == {"temperature": 0.5, "stream": True}
    assert "user" in shape["fields"]


@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(
        st.sampled_from(["messages", "contents", "input", "tools", "role", "content", "parts",
                         "choices", "delta", "message", "function", "name", "type", "text",
                         "candidates", "functionCall", "output"]), inner),
    max_leaves=12,
))  # fmt: skip
def test_any_json_has_a_shape_without_its_texts(value: object) -> None:
    body = json.dumps(value).encode()
    told = put_together(b"data: " + body + b"\n\n")
    told_too = answer_shape(body, text=told.text, tools=told.tools)
    for shape in (request_shape(body), answer_shape(body), told_too):
        assert shape["bytes"] == len(body)
        json.dumps(shape)


@given(st.binary(max_size=200))
def test_any_bytes_have_a_shape(body: bytes) -> None:
    assert request_shape(body)["bytes"] == answer_shape(body)["bytes"] == len(body)
    put_together(body)


def chosen(**delta: object) -> dict:
    return {"choices": [{"delta": delta}]}


def parts(*given: dict) -> dict:
    return {"candidates": [{"content": {"parts": list(given)}}]}


STREAMS = {
    "openai": [
        chosen(content="a@b"),
        chosen(content=".io"),
        chosen(tool_calls=[{"function": {"name": "f", "arguments": "{}"}}]),
    ],
    "anthropic": [
        {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "a@b"}},
        {"type": "content_block_delta", "delta": {"text": ".io"}},
        {"type": "content_block_start", "content_block": {"type": "tool_use", "name": "f"}},
        {"delta": {"partial_json": "{}"}},
    ],
    "google": [parts({"text": "a@b"}, {"text": ".io"}), parts({"functionCall": {"name": "f"}})],
    "responses": [
        {"type": "response.output_text.delta", "delta": "a@b"},
        {"type": "response.output_text.delta", "delta": ".io"},
        {"type": "response.output_item.added", "item": {"name": "f"}},
    ],
}


@pytest.mark.parametrize("family", STREAMS)
def test_nothing_hides_between_two_events(family: str) -> None:
    body = b"".join(b"data: " + json.dumps(each).encode() + b"\n\n" for each in STREAMS[family])
    told = put_together(body + b"data: [DONE]\n\n")
    assert (told.text, told.tools) == ("a@b.io", ["f"])
    assert redacted(told.text) == "[email]"
