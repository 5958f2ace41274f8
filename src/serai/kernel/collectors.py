"""How a collector of traces is named in settings."""

from urllib.parse import unquote, urlsplit


def collector_url(text: str) -> str:
    """Check a collector's URL.

    Raises:
        ValueError: it is none.
    """
    parts = urlsplit(text)
    plain = not (parts.query or parts.fragment or "@" in parts.netloc) and text.isprintable()
    if parts.scheme not in {"http", "https"} or not parts.hostname or not plain or parts.port == 0:
        raise ValueError("must be a collector's URL such as http://127.0.0.1:4318")
    return text


def header_fields(text: str) -> dict[str, str]:
    """``a=b,c=d`` by name, values percent-decoded as OpenTelemetry has it.

    Raises:
        ValueError: a piece is no ``name=value`` of which a header can be made.
    """
    fields = {}
    for piece in filter(None, (each.strip() for each in text.split(","))):
        name, mark, value = piece.partition("=")
        name, value = name.strip(), unquote(value.strip())
        token = name.replace("-", "").replace("_", "")
        if not mark or not token.isascii() or not token.isalnum() or not value.isprintable():
            raise ValueError("must be name=value, several between commas, such as api-key=abc")
        fields[name.lower()] = value
    return fields


def checked_fields(text: str) -> str:
    """The text itself, if ``header_fields`` can read it; raises as that does."""
    header_fields(text)
    return text
