"""Where providers tell tokens: every shape in which an answer or a stream event has them."""

import re
from typing import Any

import msgspec

Number = int | float | None

MOST = 10**15
"""What a provider claims beyond is not believed, and could not be stored."""


class Tally(msgspec.Struct, gc=False):
    """Token counts seen so far.

    Attributes:
        counted: a report was seen.
        input: tokens of the prompt.
        output: tokens of the answer.
        total: as reported, else the sum.
        cached: of the input, what the provider had in its own prompt cache.
        reasoning: of the output, what was thought and not said.
        model: what the answer says that it was made by; a string where the provider is sane.
    """

    counted: bool = False
    input: int = 0
    output: int = 0
    total: int = 0
    cached: int = 0
    reasoning: int = 0
    model: Any = None

    def note(self, received: Number, sent: Number, total: Number = None) -> None:
        """Take over what a report says; later reports of a stream replace earlier ones."""
        if received is None and sent is None and total is None:
            return
        self.counted = True
        if received is not None:
            is_plain = received.__class__ is int and 0 <= received <= MOST
            self.input = received if is_plain else _whole(received)  # type: ignore[assignment]
        if sent is not None:
            is_plain = sent.__class__ is int and 0 <= sent <= MOST
            self.output = sent if is_plain else _whole(sent)  # type: ignore[assignment]
        self.total = _whole(total) if total else self.input + self.output


def model_named(found: Any) -> str:
    """A model's name as an answer tells it; empty when it tells none, or something else."""
    return found[:128] if isinstance(found, str) else ""


def _whole(number: int | float) -> int:
    if number.__class__ is int and 0 <= number <= MOST:
        return number
    return int(max(0, min(number, MOST)))


class Details(msgspec.Struct):
    """What a count is made up of."""

    cached_tokens: Number = None
    reasoning_tokens: Number = None


class Counts(msgspec.Struct):
    """The ``usage`` of OpenAI (old and new names), Anthropic and Mistral."""

    prompt_tokens: Number = None
    completion_tokens: Number = None
    total_tokens: Number = None
    input_tokens: Number = None
    output_tokens: Number = None
    cache_creation_input_tokens: Number = None
    cache_read_input_tokens: Number = None
    prompt_cache_hit_tokens: Number = None
    prompt_tokens_details: Details | None = None
    input_tokens_details: Details | None = None
    completion_tokens_details: Details | None = None
    output_tokens_details: Details | None = None
    tokens: "Counts | None" = None
    billed_units: "Counts | None" = None

    def add_to(self, tally: Tally) -> None:
        """Count."""
        nested = self.tokens or self.billed_units  # Cohere's
        if nested is not None:
            nested.add_to(tally)
            return
        received = self.prompt_tokens if self.input_tokens is None else self.input_tokens
        cached = (self.cache_creation_input_tokens or 0) + (self.cache_read_input_tokens or 0)
        if received is not None and cached:
            received += cached  # Anthropic counts them beside the others
        sent = self.completion_tokens if self.output_tokens is None else self.output_tokens
        tally.note(received, sent, self.total_tokens)
        self._note_details(tally)

    def _note_details(self, tally: Tally) -> None:
        hit = self.cache_read_input_tokens or self.prompt_cache_hit_tokens  # or DeepSeek's
        details = self.prompt_tokens_details or self.input_tokens_details
        if details is not None:
            hit = hit or details.cached_tokens
        if hit:
            tally.cached = _whole(hit)
        details = self.completion_tokens_details or self.output_tokens_details
        if details is not None and details.reasoning_tokens:
            tally.reasoning = _whole(details.reasoning_tokens)


class GoogleCounts(msgspec.Struct, rename="camel"):
    """The ``usageMetadata`` of Gemini."""

    prompt_token_count: Number = None
    candidates_token_count: Number = None
    thoughts_token_count: Number = None
    tool_use_prompt_token_count: Number = None
    total_token_count: Number = None
    cached_content_token_count: Number = None

    def add_to(self, tally: Tally) -> None:
        """Count; thinking is output, and what tools brought is input."""
        tally.note(
            _sum(self.prompt_token_count, self.tool_use_prompt_token_count),
            _sum(self.candidates_token_count, self.thoughts_token_count),
            self.total_token_count,
        )
        if self.cached_content_token_count:
            tally.cached = _whole(self.cached_content_token_count)
        if self.thoughts_token_count:
            tally.reasoning = _whole(self.thoughts_token_count)


def _sum(first: Number, second: Number) -> Number:
    return first if second is None else (first or 0) + second


class _Holder(msgspec.Struct):
    usage: Counts | None = None
    meta: Counts | None = None
    model: Any = None


class Report(msgspec.Struct):
    """An answer: everything in it that may hold counts."""

    usage: Counts | None = None
    meta: Counts | None = None
    google: GoogleCounts | None = msgspec.field(default=None, name="usageMetadata")
    prompt_eval_count: Number = None
    eval_count: Number = None
    model: Any = None
    model_version: Any = msgspec.field(default=None, name="modelVersion")

    def add_to(self, tally: Tally) -> None:
        """Count whatever is there."""
        if (model := self.model or self.model_version) is not None:
            tally.model = model
        counts = self.usage or self.meta or self.google
        if counts is not None:
            counts.add_to(tally)
        else:
            tally.note(self.prompt_eval_count, self.eval_count)  # Ollama's


class Event(Report):
    """The same of a stream's event, where the counts may stand one step deeper."""

    choices: list[msgspec.Raw] | None = None
    message: _Holder | str | None = None
    response: _Holder | str | None = None
    delta: _Holder | str | None = None
    groq: _Holder | None = msgspec.field(default=None, name="x_groq")

    def add_to(self, tally: Tally) -> None:
        """Count whatever is there."""
        Report.add_to(self, tally)
        for holder in (self.message, self.response, self.delta, self.groq):
            if isinstance(holder, _Holder):
                tally.model = holder.model or tally.model
                counts = holder.usage or holder.meta
                if counts is not None:
                    counts.add_to(tally)


read_answer: Any = msgspec.json.Decoder(Report | list[Report] | None).decode
read_event: Any = msgspec.json.Decoder(Event).decode
_LAST = re.compile(rb'"(usage|usageMetadata|meta)"\s*:\s*\{')


def count_tail(tail: bytes, tally: Tally) -> None:
    """Count an answer of which only the end is known, by the last usage object in it.

    Inside a JSON string every quote is escaped, so what matches is never text of the model.
    """
    for found in reversed(list(_LAST.finditer(tail))):
        piece = _object(tail, found.end() - 1)
        if piece is None:
            continue
        try:
            report: Event = read_event(b'{"%b":%b}' % (found[1], piece))
        except (msgspec.MsgspecError, UnicodeDecodeError):
            continue
        report.add_to(tally)
        if tally.counted:
            return


def _object(text: bytes, start: int) -> bytes | None:
    """The JSON object of numbers, names and objects that begins here."""
    depth = 0
    for found in re.finditer(rb"[{}]", text[start:]):
        depth += 1 if found[0] == b"{" else -1
        if not depth:
            return text[start : start + found.end()]
    return None
