"""Google's generateContent, of the Gemini API and of Vertex AI."""

from collections.abc import Iterator
from typing import Annotated, Any

from checking import checker
from google.genai import types
from pydantic import BaseModel, BeforeValidator, ConfigDict
from pydantic.alias_generators import to_camel
from scene import ARGUMENTS, ASKED, SAID, TOOL, Answer, Event, Protocol, Turn, next_turn

USAGE = {
    "prompt_token_count": ASKED,
    "candidates_token_count": SAID,
    "total_token_count": ASKED + SAID,
}


def _many(value: Any) -> Any:
    """Google takes one message where a field has several."""
    return value if isinstance(value, list) else [value]


class _Request(BaseModel):
    """Fields of the REST reference; Google takes names in snake case as well."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid")

    contents: list[types.Content]
    model: str | None = None
    tools: Annotated[list[types.Tool], BeforeValidator(_many)] | None = None
    tool_config: types.ToolConfig | None = None
    safety_settings: list[types.SafetySetting] | None = None
    system_instruction: types.Content | None = None
    generation_config: types.GenerationConfig | None = None
    cached_content: str | None = None


def error(status: int, message: str) -> dict[str, Any]:
    """An error of Google."""
    kinds = {401: "UNAUTHENTICATED", 404: "NOT_FOUND"}
    kind = kinds.get(status, "INVALID_ARGUMENT")
    return {"error": {"code": status, "message": message, "status": kind}}


def _made(parts: list[dict[str, Any]], finish: str | None, **more: Any) -> dict[str, Any]:
    candidate = {"content": {"role": "model", "parts": parts}, "index": 0}
    if finish:
        candidate["finish_reason"] = finish
    head = {"response_id": "r1", "model_version": "gemini"}
    made = types.GenerateContentResponse.model_validate({"candidates": [candidate], **head, **more})
    return made.model_dump(mode="json", by_alias=True, exclude_unset=True)


def _parts(turn: Turn) -> list[dict[str, Any]]:
    if turn.words:
        return [{"text": word} for word in turn.words]
    return [{"function_call": {"name": TOOL, "args": ARGUMENTS}}]


def _whole(turn: Turn) -> dict[str, Any]:
    parts = [{"text": turn.text}] if turn.words else _parts(turn)
    return _made(parts, "STOP", usage_metadata=USAGE)


def _events(turn: Turn) -> Iterator[Event]:
    *parts, last = _parts(turn)
    for part in parts:
        yield "", _made([part], None)
    yield "", _made([last], "STOP", usage_metadata=USAGE)


def _turn(request: _Request) -> Turn:
    results: list[str] = []
    for content in request.contents:
        answers = [part.function_response for part in content.parts or []]
        found = [str(answer.response) for answer in answers if answer]
        if found:
            results += found
        elif content.role != "model":
            results = []
    declared = [tool.function_declarations or [] for tool in request.tools or []]
    return next_turn([function.name or "" for some in declared for function in some], results)


def generate(path: str, header: tuple[str, str]) -> Protocol:
    """The operation at a path that ends with the model's name, before the colon."""
    check = checker(_Request, error)

    def answer(body: dict[str, Any], streams: bool) -> Answer:
        turn = _turn(check(body))
        return Answer(events=_events(turn)) if streams else Answer(whole=_whole(turn))

    return Protocol(path + ":(stream)?[gG]enerateContent", header, answer, error)


def described(path: str, header: tuple[str, str]) -> Protocol:
    """A model's description."""

    def answer(*_: Any) -> Answer:
        limits = {"input_token_limit": 1048576, "output_token_limit": 65536}
        made = types.Model(name="models/gemini", display_name="Gemini", **limits)
        return Answer(whole=made.model_dump(mode="json", by_alias=True, exclude_unset=True))

    return Protocol(path, header, answer, error)
