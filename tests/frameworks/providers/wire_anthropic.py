"""Anthropic's messages API."""

from collections.abc import Iterator
from typing import Any

from anthropic.types import Message, MessageParam, RawMessageStreamEvent
from anthropic.types.message_create_params import MessageCreateParamsBase
from checking import checker
from pydantic import TypeAdapter
from scene import ARGUMENTS, ASKED, RAW, SAID, TOOL, Answer, Event, Protocol, Turn, next_turn
from typing_extensions import TypedDict

_EVENT: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)


class _Request(MessageCreateParamsBase, TypedDict, total=False):  # type: ignore[misc]
    stream: bool


def error(status: int, message: str) -> dict[str, Any]:
    """An error of Anthropic."""
    kinds = {401: "authentication_error", 404: "not_found_error"}
    kind = kinds.get(status, "invalid_request_error")
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"}


def _usage(said: int) -> dict[str, int]:
    return {"input_tokens": ASKED, "output_tokens": said}


def _message(body: dict[str, Any], **more: Any) -> dict[str, Any]:
    head = {"id": "msg_1", "type": "message", "role": "assistant", "model": body["model"]}
    return {**head, "stop_reason": None, "stop_sequence": None, **more}


def _stop(turn: Turn) -> str:
    return "end_turn" if turn.words else "tool_use"


def _whole(body: dict[str, Any], turn: Turn) -> dict[str, Any]:
    block: dict[str, Any] = {"type": "text", "text": turn.text}
    if not turn.words:
        block = {"type": "tool_use", "id": "toolu_1", "name": TOOL, "input": ARGUMENTS}
    made = _message(body, content=[block], stop_reason=_stop(turn), usage=_usage(SAID))
    return Message.model_validate(made).model_dump(mode="json", exclude_unset=True)


def _raw_events(body: dict[str, Any], turn: Turn) -> Iterator[dict[str, Any]]:
    yield {"type": "message_start", "message": _message(body, content=[], usage=_usage(1))}
    block: dict[str, Any] = {"type": "text", "text": ""}
    if not turn.words:
        block = {"type": "tool_use", "id": "toolu_1", "name": TOOL, "input": {}}
    yield {"type": "content_block_start", "index": 0, "content_block": block}
    pieces = [{"type": "text_delta", "text": word} for word in turn.words]
    if not turn.words:
        halves = (RAW[:5], RAW[5:])
        pieces = [{"type": "input_json_delta", "partial_json": half} for half in halves]
    for piece in pieces:
        yield {"type": "content_block_delta", "index": 0, "delta": piece}
    yield {"type": "content_block_stop", "index": 0}
    delta = {"stop_reason": _stop(turn), "stop_sequence": None}
    yield {"type": "message_delta", "delta": delta, "usage": {"output_tokens": SAID}}
    yield {"type": "message_stop"}


def _events(body: dict[str, Any], turn: Turn) -> Iterator[Event]:
    for raw in _raw_events(body, turn):
        made = _EVENT.validate_python(raw)
        yield raw["type"], made.model_dump(mode="json", exclude_unset=True)


def _turn(body: dict[str, Any]) -> Turn:
    results: list[str] = []
    messages: list[MessageParam] = body["messages"]
    for message in messages:
        content = message["content"]
        parts: list[Any] = [] if isinstance(content, str) else list(content)
        found = [part for part in parts if part["type"] == "tool_result"]
        if found:
            results += [_text(part.get("content", "")) for part in found]
        elif message["role"] == "user":
            results = []
    return next_turn([tool["name"] for tool in body.get("tools") or []], results)


def _text(content: Any) -> str:
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


def messages(path: str, secret: str) -> Protocol:
    """The messages API at a path."""
    check = checker(_Request, error)

    def answer(body: dict[str, Any], _: bool) -> Answer:
        check(body)
        turn = _turn(body)
        if body.get("stream"):
            return Answer(events=_events(body, turn))
        return Answer(whole=_whole(body, turn))

    return Protocol(path, ("x-api-key", secret), answer, error)
