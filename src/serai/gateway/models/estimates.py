"""The most tokens that a call can use, as its body tells before it is sent."""

from collections.abc import Iterator

import msgspec

from serai.kernel.errors import BadRequest


class Reservation(msgspec.Struct, frozen=True):
    """What a call under a strict policy may use at most."""

    resource_id: str
    input: int
    output: int


Names = tuple[str, ...]
_most = msgspec.json.Decoder(dict[str, msgspec.Raw])
_MAXIMA = ("max_completion_tokens", "max_tokens", "max_output_tokens")
_CHOICES = ("n", "best_of")
_ASKED = frozenset({"messages", "message", "input", "prompt"})
_GOOGLE = frozenset({"contents", "generationConfig", "generation_config"})
_GOOGLE_MAXIMA = ("maxOutputTokens", "max_output_tokens")
_GOOGLE_CHOICES = ("candidateCount", "candidate_count")
_SILENT = (b"/embeddings", b"/rerank", b"/moderations", b"/embed")


def most_tokens(resource_id: str, rest: bytes, body: bytes) -> Reservation:
    """The most tokens that a call can use: one per byte sent, and what its body limits.

    Raises:
        BadRequest: the body does not limit the output, which a strict policy needs.
    """
    if rest.endswith(_SILENT):
        return Reservation(resource_id, len(body), 0)
    try:
        output = max(_outputs(_most.decode(body)))
    except (msgspec.MsgspecError, UnicodeDecodeError, ValueError) as error:
        raise BadRequest(
            "A strict token policy holds for this model: the JSON body must limit its output as a"
            " whole number, for example with max_tokens."
        ) from error
    return Reservation(resource_id, len(body), output)


def _outputs(fields: dict[str, msgspec.Raw]) -> Iterator[int]:
    """What a body allows the answer, wherever a provider may look for it.

    Raises:
        ValueError: it does not say so where one would look.
    """
    google = not _GOOGLE.isdisjoint(fields)
    if google:
        named = [
            fields[name] for name in ("generationConfig", "generation_config") if name in fields
        ]
        yield max(_limited(_most.decode(each), _GOOGLE_MAXIMA, _GOOGLE_CHOICES) for each in named)
    if not google or not _ASKED.isdisjoint(fields):
        yield _limited(fields, _MAXIMA, _CHOICES)


def _limited(fields: dict[str, msgspec.Raw], maxima: Names, choices: Names) -> int:
    most = max(_numbers(fields, maxima))
    return max(0, most) * max([1, *_numbers(fields, choices)])


def _numbers(fields: dict[str, msgspec.Raw], names: Names) -> list[int]:
    return [msgspec.json.decode(fields[name], type=int) for name in names if name in fields]


def asked_tokens(rest: bytes, body: bytes) -> tuple[int, int | None]:
    """The most tokens of a call's prompt and of its answer; None when it does not limit that."""
    try:
        most = most_tokens("", rest, body)
    except BadRequest:
        return len(body), None
    return most.input, most.output
