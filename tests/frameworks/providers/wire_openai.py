"""The chat completions API of OpenAI, and of those who have it too."""

import time
from collections.abc import Iterator
from typing import Any

from checking import checker
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.chat.completion_create_params import CompletionCreateParamsBase
from pydantic import BaseModel
from scene import ASKED, RAW, SAID, TOOL, Answer, Event, Protocol, Turn, next_turn
from typing_extensions import TypedDict

USAGE = {"prompt_tokens": ASKED, "completion_tokens": SAID, "total_tokens": ASKED + SAID}


class _Request(CompletionCreateParamsBase, TypedDict, total=False):  # type: ignore[misc]
    stream: bool | None


def error(status: int, message: str) -> dict[str, Any]:
    """An error of OpenAI."""
    kind = "invalid_request_error" if status < 500 else "server_error"
    return {"error": {"message": message, "type": kind, "param": None, "code": None}}


def _call(call_id: str, **more: Any) -> list[dict[str, Any]]:
    function = {"name": TOOL, "arguments": RAW}
    return [{"id": call_id, "type": "function", "function": function, **more}]


def _frame(model: str, kind: str, choice: dict[str, Any] | None, **more: Any) -> dict[str, Any]:
    choices = [] if choice is None else [{"index": 0, "logprobs": None, **choice}]
    head = {"id": "chatcmpl-1", "object": kind, "created": int(time.time()), "model": model}
    return {**head, "choices": choices, **more}


def whole(model: str, turn: Turn, call_id: str, silence: str | None) -> dict[str, Any]:
    """A completion in one piece."""
    message: dict[str, Any] = {"role": "assistant", "content": turn.text or silence}
    if not turn.words:
        message["tool_calls"] = _call(call_id)
    finish = "stop" if turn.words else "tool_calls"
    choice = {"message": message, "finish_reason": finish}
    return _frame(model, "chat.completion", choice, usage=USAGE)


def chunks(model: str, turn: Turn, call_id: str) -> Iterator[dict[str, Any]]:
    """A completion in pieces, without usage."""
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    deltas += [{"content": word} for word in turn.words]
    if not turn.words:
        deltas.append({"tool_calls": _call(call_id, index=0)})
    for delta in deltas:
        yield _frame(model, "chat.completion.chunk", {"delta": delta, "finish_reason": None})
    finish = "stop" if turn.words else "tool_calls"
    yield _frame(model, "chat.completion.chunk", {"delta": {}, "finish_reason": finish})


def turn_of(body: dict[str, Any]) -> Turn:
    """What to say to a request."""
    tools = [tool.get("function", {}).get("name", "") for tool in body.get("tools") or []]
    results: list[str] = []
    for message in body["messages"]:
        if message["role"] == "tool":
            results.append(_text(message["content"]))
        elif message["role"] == "user":
            results = []
    return next_turn(tools, results)


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "") for part in content or [])


def chat(
    path: str,
    *,
    header: tuple[str, str],
    whole_type: type[BaseModel] = ChatCompletion,
    chunk_type: type[BaseModel] = ChatCompletionChunk,
    request_type: Any = _Request,
    refused: frozenset[str] = frozenset(),
    always_counts: bool = False,
    call_id: str = "call_0123456789",
    silence: str | None = None,
    more: dict[str, Any] | None = None,
) -> Protocol:
    """The chat completions of a provider.

    Args:
        path: where they are.
        header: where the key stands.
        whole_type: what an answer is, in the provider's own SDK.
        chunk_type: what a piece of an answer is.
        request_type: what a request is.
        refused: fields of it that this provider does not take.
        always_counts: the last piece of a stream has the usage, asked for or not.
        call_id: what calls of tools are named.
        silence: the text of an answer that calls a tool.
        more: fields that its answers and their pieces have besides.
    """
    check = checker(request_type, error, refused)

    def chunk(piece: dict[str, Any]) -> dict[str, Any]:
        return dump(chunk_type, piece | (more or {}))

    def answer(body: dict[str, Any], _: bool) -> Answer:
        check(body)
        turn, model = turn_of(body), body["model"]
        if not body.get("stream"):
            return Answer(
                whole=dump(whole_type, whole(model, turn, call_id, silence) | (more or {}))
            )
        asked = bool((body.get("stream_options") or {}).get("include_usage"))
        return Answer(events=events(model, turn, asked))

    def events(model: str, turn: Turn, asked: bool) -> Iterator[Event]:
        for piece in chunks(model, turn, call_id):
            last = piece["choices"][0]["finish_reason"] is not None
            yield "", chunk(piece | ({"usage": USAGE} if last and always_counts else {}))
        if asked and not always_counts:
            yield "", chunk(_frame(model, "chat.completion.chunk", None, usage=USAGE))
        yield "", "[DONE]"

    return Protocol(path, header, answer, error)


def dump(kind: type[BaseModel], value: dict[str, Any]) -> dict[str, Any]:
    """A value as its type writes it; raises where it is not one."""
    made = kind.model_validate(value)
    return made.model_dump(mode="json", by_alias=True, exclude_unset=True)
