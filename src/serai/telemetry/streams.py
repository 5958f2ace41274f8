"""Putting the text of an event stream together, so that nothing hides between two events."""

from collections.abc import Iterator
from typing import Any

import msgspec

from serai.telemetry.shapes import read_json


class Told(msgspec.Struct):
    """What a stream said.

    Attributes:
        text: of the answer.
        arguments: of the tools that it calls, one after the other.
        tools: their names.
    """

    text: str
    arguments: str
    tools: list[str]


def put_together(body: bytes) -> Told:
    """The text of a stream of any family; what is cut off or unknown adds nothing."""
    texts: list[str] = []
    arguments: list[str] = []
    tools: list[str] = []
    for event in _events(body):
        for kind, piece in _pieces(event):
            {"text": texts, "arguments": arguments, "tool": tools}[kind].append(piece)
    return Told("".join(texts), "".join(arguments), tools)


def _events(body: bytes) -> Iterator[dict[str, Any]]:
    """``data:`` lines of Server-Sent Events, or the lines of a stream of JSON documents."""
    for raw in body.splitlines():
        line = raw[5:].strip() if raw.startswith(b"data:") else raw.strip()
        if line.startswith(b"{") and isinstance(event := read_json(line), dict):
            yield event


def _pieces(event: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield from _openai(event)
    yield from _anthropic(event)
    yield from _others(event)


def _openai(event: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for choice in _objects(event.get("choices")):
        delta = _object(choice.get("delta"))
        yield from _strings("text", delta.get("content"), choice.get("text"))
        for call in _objects(delta.get("tool_calls")):
            function = _object(call.get("function"))
            yield from _strings("tool", function.get("name"))
            yield from _strings("arguments", function.get("arguments"))
    kind = event.get("type")
    if kind == "response.output_text.delta":
        yield from _strings("text", event.get("delta"))
    elif kind == "response.function_call_arguments.delta":
        yield from _strings("arguments", event.get("delta"))
    elif kind == "response.output_item.added":
        yield from _strings("tool", _object(event.get("item")).get("name"))


def _anthropic(event: dict[str, Any]) -> Iterator[tuple[str, str]]:
    delta = _object(event.get("delta"))
    yield from _strings("text", delta.get("text"))
    yield from _strings("arguments", delta.get("partial_json"))
    yield from _strings("tool", _object(event.get("content_block")).get("name"))


def _others(event: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for candidate in _objects(event.get("candidates")):  # Google
        for part in _objects(_object(candidate.get("content")).get("parts")):
            yield from _strings("text", part.get("text"))
            yield from _strings("tool", _object(part.get("functionCall")).get("name"))
    message = _object(event.get("message"))  # Ollama
    yield from _strings("text", message.get("content"), event.get("response"))
    content = _object(_object(_object(event.get("delta")).get("message")).get("content"))  # Cohere
    yield from _strings("text", content.get("text"))


def _strings(kind: str, *values: Any) -> Iterator[tuple[str, str]]:
    return ((kind, value) for value in values if isinstance(value, str) and value)


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _objects(value: Any) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []
