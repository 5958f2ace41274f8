"""What must change in the body of a model call."""

import msgspec

from serai.kernel.errors import BadRequest

_TRUE = msgspec.Raw(b"true")
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_options = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Rewritten(msgspec.Struct, frozen=True, gc=False):
    """A model call's body as the provider gets it.

    Attributes:
        body: the bytes; the caller's own where nothing had to change.
        strip: usage was asked for on the caller's behalf, so the usage event must be dropped.
    """

    body: bytes
    strip: bool


def rewrite(body: bytes, model: str | None, *, adds: bool = True, completions: bool) -> Rewritten:
    """Put the provider's model name into a JSON body, and ask for usage in a stream.

    Args:
        body: JSON object; values that need no change keep their bytes.
        model: the provider's name; None keeps the caller's.
        adds: put the name also into a body that has none.
        completions: the operation knows ``stream_options``.

    Raises:
        BadRequest: the body is not a JSON object, or ``stream_options`` is none.
    """
    streams = completions and b'"stream"' in body
    if model is None and not streams:
        return Rewritten(body, False)
    try:
        fields = _fields.decode(body)
        asks = streams and bytes(fields.get("stream", b"")) == b"true"
        strip = asks and _ask_for_usage(fields)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BadRequest(f"The body of a model call must be a JSON object: {error}.") from error
    if model is not None and (adds or "model" in fields):
        fields["model"] = msgspec.Raw(msgspec.json.encode(model))
    elif not strip:
        return Rewritten(body, False)
    return Rewritten(msgspec.json.encode(fields), strip)


def _ask_for_usage(fields: dict[str, msgspec.Raw]) -> bool:
    """Set ``stream_options.include_usage``; whether the caller had not done so."""
    given = fields.get("stream_options")
    options = {} if given is None or bytes(given) == b"null" else _options.decode(given)
    if bytes(options.get("include_usage", b"")) == b"true":
        return False
    options["include_usage"] = _TRUE
    fields["stream_options"] = msgspec.Raw(msgspec.json.encode(options))
    return True
