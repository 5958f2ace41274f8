"""Cohere's chat, in its second version and in the first one, which some clients still call."""

from collections.abc import Iterator
from typing import Any

import cohere
from checking import checker
from cohere.types import (
    ChatMessages,
    NonStreamedChatResponse,
    StreamedChatResponse,
    ToolV2,
)
from cohere.v2.types import V2ChatResponse, V2ChatStreamResponse
from pydantic import BaseModel, ConfigDict, TypeAdapter
from scene import ARGUMENTS, ASKED, RAW, SAID, TOOL, Answer, Event, Protocol, Turn, next_turn

USAGE = {
    "billed_units": {"input_tokens": ASKED, "output_tokens": SAID},
    "tokens": {"input_tokens": ASKED, "output_tokens": SAID},
}
_OF_V2: TypeAdapter[Any] = TypeAdapter(V2ChatStreamResponse)
_OF_V1: TypeAdapter[Any] = TypeAdapter(StreamedChatResponse)


class _Request(BaseModel):
    """What both versions have."""

    model_config = ConfigDict(extra="forbid")

    model: str
    stream: bool = False
    documents: list[Any] | None = None
    response_format: dict[str, Any] | None = None
    safety_mode: str | None = None
    max_tokens: int | None = None
    stop_sequences: list[str] | None = None
    temperature: float | None = None
    seed: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    k: int | None = None
    p: float | None = None


class _RequestV2(_Request):
    messages: ChatMessages
    tools: list[ToolV2] | None = None
    strict_tools: bool | None = None
    citation_options: dict[str, Any] | None = None
    logprobs: bool | None = None
    tool_choice: str | None = None
    thinking: dict[str, Any] | None = None
    priority: int | None = None


class _RequestV1(_Request):
    message: str
    chat_history: list[cohere.Message] | None = None
    preamble: str | None = None
    conversation_id: str | None = None
    prompt_truncation: str | None = None
    connectors: list[Any] | None = None
    tools: list[cohere.Tool] | None = None
    tool_results: list[cohere.ToolResult] | None = None
    force_single_step: bool | None = None
    raw_prompting: bool | None = None


def error(_: int, message: str) -> dict[str, Any]:
    """An error of Cohere."""
    return {"id": "1", "message": message}


def _dump(made: BaseModel) -> dict[str, Any]:
    return made.model_dump(mode="json", by_alias=True, exclude_none=True)


def _calls(**more: Any) -> dict[str, Any]:
    return {"id": "w1", "type": "function", "function": {"name": TOOL, "arguments": RAW}, **more}


def _whole(turn: Turn) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant"}
    if turn.words:
        message["content"] = [{"type": "text", "text": turn.text}]
    else:
        message |= {"tool_plan": "I will ask.", "tool_calls": [_calls()]}
    finish = "COMPLETE" if turn.words else "TOOL_CALL"
    answer = {"id": "c1", "finish_reason": finish, "message": message, "usage": USAGE}
    return _dump(V2ChatResponse.model_validate(answer))


def _event(kind: str, message: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    delta = {} if message is None else {"delta": {"message": message}}
    return {"type": kind, **delta, **more}


def _raw_events(turn: Turn) -> Iterator[dict[str, Any]]:
    empty = {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": []}
    yield _event("message-start", empty, id="c1")
    if turn.words:
        yield _event("content-start", {"content": {"type": "text", "text": ""}}, index=0)
        for word in turn.words:
            yield _event("content-delta", {"content": {"text": word}}, index=0)
        yield _event("content-end", index=0)
    else:
        yield _event("tool-plan-delta", {"tool_plan": "I will ask."})
        begun = _calls(function={"name": TOOL, "arguments": ""})
        yield _event("tool-call-start", {"tool_calls": begun}, index=0)
        for half in (RAW[:5], RAW[5:]):
            piece = {"tool_calls": {"function": {"arguments": half}}}
            yield _event("tool-call-delta", piece, index=0)
        yield _event("tool-call-end", index=0)
    finish = "COMPLETE" if turn.words else "TOOL_CALL"
    yield {"type": "message-end", "delta": {"finish_reason": finish, "usage": USAGE}}


def _events(turn: Turn) -> Iterator[Event]:
    for raw in _raw_events(turn):
        yield raw["type"], _dump(_OF_V2.validate_python(raw))


def _turn(body: dict[str, Any]) -> Turn:
    results: list[str] = []
    for message in body["messages"]:
        if message["role"] == "tool":
            results.append(_text(message["content"]))
        elif message["role"] == "user":
            results = []
    tools = [tool["function"]["name"] for tool in body.get("tools") or []]
    return next_turn(tools, results)


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    documents = [part.get("document", {}).get("data", part.get("text")) for part in content]
    return "".join(str(document) for document in documents)


def chat(path: str, header: tuple[str, str]) -> Protocol:
    """The second version at a path."""
    check = checker(_RequestV2, error)

    def answer(body: dict[str, Any], _: bool) -> Answer:
        check(body)
        turn = _turn(body)
        return Answer(events=_events(turn)) if body.get("stream") else Answer(whole=_whole(turn))

    return Protocol(path, header, answer, error)


def _whole_v1(turn: Turn) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "text": turn.text,
        "generation_id": "g1",
        "finish_reason": "COMPLETE",
        "meta": {"api_version": {"version": "1"}, **USAGE},
    }
    if not turn.words:
        answer["tool_calls"] = [{"name": TOOL, "parameters": ARGUMENTS}]
    return _dump(NonStreamedChatResponse.model_validate(answer))


def _events_v1(turn: Turn) -> Iterator[Event]:
    raw: list[dict[str, Any]] = [{"event_type": "stream-start", "generation_id": "g1"}]
    raw += [{"event_type": "text-generation", "text": word} for word in turn.words]
    if not turn.words:
        calls = [{"name": TOOL, "parameters": ARGUMENTS}]
        raw.append({"event_type": "tool-calls-generation", "tool_calls": calls})
    end = {"event_type": "stream-end", "finish_reason": "COMPLETE", "response": _whole_v1(turn)}
    for event in [*raw, end]:
        yield "", _dump(_OF_V1.validate_python(event))


def chat_v1(path: str, header: tuple[str, str]) -> Protocol:
    """The first version at a path; its streams are lines of JSON."""
    check = checker(_RequestV1, error)

    def answer(body: dict[str, Any], _: bool) -> Answer:
        check(body)
        tools = [tool["name"] for tool in body.get("tools") or []]
        results = [str(result["outputs"]) for result in body.get("tool_results") or []]
        turn = next_turn(tools, results)
        if body.get("stream"):
            return Answer(events=_events_v1(turn), lines=True)
        return Answer(whole=_whole_v1(turn))

    return Protocol(path, header, answer, error)
