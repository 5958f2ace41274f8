"""What must change in the body of a model call."""

import msgspec

from serai.kernel.errors import BadRequest

_TRUE = msgspec.Raw(b"true")
_decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode
_options = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Change(msgspec.Struct, frozen=True, gc=False):
    """What must change in the bodies of an operation.

    Attributes:
        model: what their ``model`` becomes, as JSON; None keeps the caller's.
        adds: put it also into a body that has none.
        completions: the operation knows ``stream_options``.
        drops_usage: the operation refuses ``stream_options.include_usage``.
    """

    model: msgspec.Raw | None
    adds: bool
    completions: bool
    drops_usage: bool = False


def change_to(
    model: str | None, *, adds: bool, completions: bool, drops_usage: bool = False
) -> Change:
    """The change to a model's name."""
    raw = None if model is None else msgspec.Raw(msgspec.json.encode(model))
    return Change(raw, adds, completions, drops_usage)


def changed(body: bytes, change: Change) -> tuple[bytes, bool]:
    """A body as the provider gets it, and whether usage was asked for on the caller's behalf.

    In the latter case the event with the usage must be dropped from the answer. Values that need no
    change keep their bytes, and so does a body in which nothing has to change.

    Raises:
        BadRequest: the body is not a JSON object, or ``stream_options`` is none.
    """
    model = change.model
    if model is None and not _concerns_usage(body, change):
        return body, False
    try:
        fields = _decode(body)
        asks = change.completions and "stream" in fields and bytes(fields["stream"]) == b"true"
        strip = asks and _ask_for_usage(fields)
        dropped = change.drops_usage and _drop_usage(fields)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BadRequest(f"The body of a model call must be a JSON object: {error}.") from error
    if model is not None and (change.adds or "model" in fields):
        fields["model"] = model
    elif not (strip or dropped):
        return body, False
    return _encode(fields), strip


def _ask_for_usage(fields: dict[str, msgspec.Raw]) -> bool:
    """Set ``stream_options.include_usage``; whether the caller had not done so."""
    given = fields.get("stream_options")
    options = {} if given is None or bytes(given) == b"null" else _options.decode(given)
    if bytes(options.get("include_usage", b"")) == b"true":
        return False
    options["include_usage"] = _TRUE
    fields["stream_options"] = msgspec.Raw(msgspec.json.encode(options))
    return True


def _concerns_usage(body: bytes, change: Change) -> bool:
    if change.drops_usage:
        return b'"stream_options"' in body
    return change.completions and b'"stream"' in body


def _drop_usage(fields: dict[str, msgspec.Raw]) -> bool:
    """Take ``stream_options.include_usage`` out; whether it was there."""
    given = fields.get("stream_options")
    if given is None or bytes(given) == b"null":
        return False
    options = _options.decode(given)
    if options.pop("include_usage", None) is None:
        return False
    if options:
        fields["stream_options"] = msgspec.Raw(msgspec.json.encode(options))
    else:
        del fields["stream_options"]
    return True
