"""What a model call looks like without what it says: roles, numbers, lengths, names of tools."""

import re
from collections.abc import Iterable
from typing import Any

import msgspec

LARGEST_READ = 1024 * 1024
"""Longer bodies are told by their length alone."""
_MOST = 64
_NAME = re.compile(r"[A-Za-z0-9_.:/\-]{1,64}")
_MESSAGES = ("messages", "contents", "input", "chat_history")


def read_json(body: bytes) -> Any:
    """A body as JSON; None for what is none, is too long or too deep."""
    if not body or len(body) > LARGEST_READ:
        return None
    try:
        return msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def request_shape(body: bytes) -> dict[str, Any]:
    """The shape of a request's body.

    Parameters are told with their value where that is a number or a switch, else by name: texts
    may be anything, as may what a client calls its users.
    """
    told: dict[str, Any] = {"bytes": len(body)}
    content = read_json(body)
    if not isinstance(content, dict):
        return told
    messages = next((content[name] for name in _MESSAGES if content.get(name)), None)
    if isinstance(messages, list):
        some = messages[:_MOST]
        told["messages"] = len(messages)
        told["roles"] = [_name(_field(each, "role")) for each in some]
        told["lengths"] = [text_length(each) for each in some]
    elif isinstance(messages, str):
        told |= {"messages": 1, "lengths": [len(messages)]}
    if isinstance(content.get("tools"), list):
        told["tools"] = _tool_names(content["tools"])
    told["parameters"] = {
        name: value
        for name, value in content.items()
        if isinstance(value, bool | int | float) and _NAME.fullmatch(name)
    }
    told["fields"] = sorted(name for name in content if _NAME.fullmatch(name))[:_MOST]
    return told


def answer_shape(body: bytes, *, text: str | None = None, tools: Iterable[str] = ()) -> Any:
    """The shape of an answer; ``text`` is what was put together of a stream's events."""
    told: dict[str, Any] = {"bytes": len(body)}
    if text is not None:
        told["text"] = len(text)
        told |= {"toolCalls": named} if (named := [_name(each) for each in tools][:_MOST]) else {}
        return told
    content = read_json(body)
    if not isinstance(content, dict):
        return told
    for name in ("choices", "candidates", "content", "output", "data", "embeddings", "results"):
        if isinstance(content.get(name), list):
            told["choices"] = len(content[name])
            told["text"] = text_length(content[name])
            break
    calls = [_name(each) for each in _called(content)][:_MOST]
    return told | ({"toolCalls": calls} if calls else {})


def text_length(value: Any) -> int:
    """Characters of all texts below a value, without the names of fields and kinds."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, list):
        return sum(text_length(each) for each in value)
    if isinstance(value, dict):
        skipped = {"role", "type", "id", "finish_reason", "finishReason", "object", "model"}
        return sum(text_length(each) for name, each in value.items() if name not in skipped)
    return 0


def _called(value: Any) -> Iterable[str]:
    """Names of the tools that an answer calls, in the shapes of all families."""
    if isinstance(value, list):
        for each in value:
            yield from _called(each)
    elif isinstance(value, dict):
        kind, name = value.get("type"), value.get("name")
        if kind in ("tool_use", "function_call") and isinstance(name, str):
            yield name
        for key in ("function", "functionCall"):
            if isinstance(_field(value.get(key), "name"), str):
                yield str(value[key]["name"])
        for key, each in value.items():
            if key not in {"function", "functionCall", "arguments", "args"}:
                yield from _called(each)


def _tool_names(tools: list[Any]) -> list[str]:
    names: list[str] = []
    for tool in tools[:_MOST]:
        declared = _field(tool, "functionDeclarations")
        if isinstance(declared, list):
            names += [_name(_field(each, "name")) for each in declared[:_MOST]]
            continue
        own = _field(tool, "name") or _field(_field(tool, "function"), "name")
        names.append(_name(own or _field(tool, "type")))
    return names[:_MOST]


def _field(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else None


def _name(value: Any) -> str:
    """A short plain name, or ``?``: what stands there may be anything."""
    return value if isinstance(value, str) and _NAME.fullmatch(value) else "?"
