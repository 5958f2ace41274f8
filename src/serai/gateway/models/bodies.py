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
    """

    model: msgspec.Raw | None
    adds: bool
    completions: bool


def change_to(model: str | None, *, adds: bool, completions: bool) -> Change:
    """The change to a model's name."""
    raw = None if model is None else msgspec.Raw(msgspec.json.encode(model))
    return Change(raw, adds, completions)


def changed(body: bytes, change: Change) -> tuple[bytes, bool]:
    """A body as the provider gets it, and whether usage was asked for on the caller's behalf.

    In the latter case the event with the usage must be dropped from the answer. Values that need no
    change keep their bytes, and so does a body in which nothing has to change.

    Raises:
        BadRequest: the body is not a JSON object, or ``stream_options`` is none.
    """
    model = change.model
    if model is None and not (change.completions and b'"stream"' in body):
        return body, False
    try:
        fields = _decode(body)
        asks = change.completions and "stream" in fields and bytes(fields["stream"]) == b"true"
        strip = asks and _ask_for_usage(fields)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BadRequest(f"The body of a model call must be a JSON object: {error}.") from error
    if model is not None and (change.adds or "model" in fields):
        fields["model"] = model
    elif not strip:
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
