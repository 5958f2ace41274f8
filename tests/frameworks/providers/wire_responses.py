"""OpenAI's responses API, which some have of those who have its chat completions."""

import itertools
from collections.abc import Iterator
from typing import Any

from checking import checker
from openai.types.responses import Response, ResponseStreamEvent
from openai.types.responses.response_create_params import ResponseCreateParamsBase
from pydantic import TypeAdapter
from scene import ASKED, RAW, SAID, TOOL, Answer, Event, Protocol, Turn, next_turn
from typing_extensions import TypedDict
from wire_openai import error

USAGE = {
    "input_tokens": ASKED,
    "output_tokens": SAID,
    "total_tokens": ASKED + SAID,
    "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
    "output_tokens_details": {"reasoning_tokens": 0},
}
_EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
_AT = {"item_id": "item_1", "output_index": 0}
_PART = {**_AT, "content_index": 0}


class _Request(ResponseCreateParamsBase, TypedDict, total=False):  # type: ignore[misc]
    stream: bool | None


def _response(model: str, status: str, output: list[Any], **more: Any) -> dict[str, Any]:
    head = {"id": "resp_1", "object": "response", "created_at": 1, "model": model}
    rest = {"parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "output": output}
    return {**head, **rest, "status": status, **more}


def _text(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _item(turn: Turn, *, done: bool) -> dict[str, Any]:
    item: dict[str, Any] = {"id": "item_1", "status": "completed" if done else "in_progress"}
    if turn.words:
        content = [_text(turn.text)] if done else []
        return item | {"type": "message", "role": "assistant", "content": content}
    arguments = RAW if done else ""
    call = {"type": "function_call", "call_id": "call_1", "name": TOOL, "arguments": arguments}
    return item | call


def _completed(model: str, turn: Turn) -> dict[str, Any]:
    return _response(model, "completed", [_item(turn, done=True)], usage=USAGE)


def _pieces(turn: Turn) -> Iterator[dict[str, Any]]:
    if turn.words:
        yield {"type": "response.content_part.added", **_PART, "part": _text("")}
        for word in turn.words:
            told = {"delta": word, "logprobs": []}
            yield {"type": "response.output_text.delta", **_PART, **told}
        told = {"text": turn.text, "logprobs": []}
        yield {"type": "response.output_text.done", **_PART, **told}
        yield {"type": "response.content_part.done", **_PART, "part": _text(turn.text)}
        return
    for half in (RAW[:5], RAW[5:]):
        yield {"type": "response.function_call_arguments.delta", **_AT, "delta": half}
    told = {"arguments": RAW, "name": TOOL}
    yield {"type": "response.function_call_arguments.done", **_AT, **told}


def _raw_events(model: str, turn: Turn) -> Iterator[dict[str, Any]]:
    begun = _response(model, "in_progress", [])
    yield {"type": "response.created", "response": begun}
    yield {"type": "response.in_progress", "response": begun}
    place = {"output_index": 0}
    yield {"type": "response.output_item.added", **place, "item": _item(turn, done=False)}
    yield from _pieces(turn)
    yield {"type": "response.output_item.done", **place, "item": _item(turn, done=True)}
    yield {"type": "response.completed", "response": _completed(model, turn)}


def _events(model: str, turn: Turn) -> Iterator[Event]:
    for number, raw in zip(itertools.count(), _raw_events(model, turn), strict=False):
        made = _EVENT.validate_python({**raw, "sequence_number": number})
        yield raw["type"], made.model_dump(mode="json", exclude_unset=True)


def _turn(body: dict[str, Any]) -> Turn:
    results: list[str] = []
    items = body["input"] if isinstance(body["input"], list) else []
    for item in items:
        if item.get("type") == "function_call_output":
            results.append(_told(item["output"]))
        elif item.get("role") == "user":
            results = []
    return next_turn([tool.get("name", "") for tool in body.get("tools") or []], results)


def _told(output: Any) -> str:
    return output if isinstance(output, str) else "".join(part["text"] for part in output)


def _defaulted(body: dict[str, Any]) -> dict[str, Any]:
    """With ``strict`` in each function: the API fills in what the type requires."""
    tools = [{"strict": None, **tool} for tool in body.get("tools") or []]
    return {**body, "tools": tools} if tools else body


def responses(path: str, header: tuple[str, str]) -> Protocol:
    """The responses API at a path."""
    check = checker(_Request, error)

    def answer(body: dict[str, Any], _: bool) -> Answer:
        check(_defaulted(body))
        turn, model = _turn(body), body["model"]
        if body.get("stream"):
            return Answer(events=_events(model, turn))
        made = Response.model_validate(_completed(model, turn))
        return Answer(whole=made.model_dump(mode="json", exclude_unset=True))

    return Protocol(path, header, answer, error)
