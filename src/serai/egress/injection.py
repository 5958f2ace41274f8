"""What is added to one request, and what its placeholders become."""

import json
from collections.abc import Callable
from urllib.parse import quote_plus

from serai.egress.policy import Route
from serai.egress.templates import Expander, Unresolved, fill_secrets

MAX_BODY = 1 << 20
_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
_FORM = "application/x-www-form-urlencoded"
_ECHO = "X-Blaxel-Func-"

Headers = list[tuple[bytes, bytes]]


class Injection:
    """One request and the routes that apply to it.

    Secrets are filled only where ``secure``: on a connection that proved to lead to the name
    they are for. What needs one is left out elsewhere.
    """

    def __init__(self, routes: list[Route], *, secure: bool) -> None:
        self._routes = routes
        self._secure = secure
        self._leaves_body = False
        self._expander = Expander()
        self.echoes: Headers = []
        """Headers for the answer, which say what functions made."""

    def leave_body(self) -> None:
        """Too much is held for changes already: this one passes as it is."""
        self._leaves_body = True

    def headers(self, given: Headers) -> Headers:
        """The request's headers; what its maker wrote stays, what is missing is added."""
        result = [(name, self._fill(value)) for name, value in given]
        present = {name.lower() for name, _ in given}
        for route in self._routes:
            for name, template in route.headers.items():
                key = name.encode("latin-1", "replace")
                if key.lower() in present:
                    continue
                value = self._value(name, template, route)
                if value is not None and _is_field_value(value):
                    present.add(key.lower())
                    result.append((key, value.encode("utf-8")))
        return result

    def wants_body(self, method: str, given: Headers) -> bool:
        """Whether the body must be read as a whole first: it is short and may be changed."""
        values = {name.lower(): value.strip() for name, value in given}
        length = values.get(b"content-length", b"")
        if self._leaves_body or method not in _WITH_BODY or not length.isdigit():
            return False
        if values.get(b"content-encoding", b"identity").lower() != b"identity":
            return False
        changes = any(route.body or (self._secure and route.secrets) for route in self._routes)
        return changes and 0 < int(length) <= MAX_BODY

    def body(self, data: bytes, given: Headers) -> bytes:
        """The body with secrets filled and, in a JSON object, the missing fields added."""
        kind = next((value for name, value in given if name.lower() == b"content-type"), b"")
        media = kind.decode("latin-1").partition(";")[0].strip().lower()
        is_json = media in ("application/json", "") or media.endswith("+json")
        if is_json:
            return self._merge(self._fill(data, _as_json))
        return self._fill(data, quote_plus) if media == _FORM else self._fill(data)

    def _merge(self, data: bytes) -> bytes:
        if not any(route.body for route in self._routes):
            return data
        try:
            fields = json.loads(data)
        except (ValueError, RecursionError):
            return data
        if not isinstance(fields, dict):
            return data
        for route in self._routes:
            for name, template in route.body.items():
                if name not in fields:
                    value = self._value(name, template, route)
                    if value is not None:
                        fields[name] = value
        return json.dumps(fields, ensure_ascii=False).encode()

    def _value(self, target: str, template: str, route: Route) -> str | None:
        try:
            value, made = self._expander.expand(template, route.secrets if self._secure else {})
        except Unresolved:
            return None
        if made:
            name = f"{_ECHO}{target}".encode("ascii", "replace")
            self.echoes.append((name, ", ".join(made).encode()))
        return value

    def _fill(self, data: bytes, encode: Callable[[str], str] = str) -> bytes:
        if b"{{SECRET:" not in data or not self._secure:
            return data
        text = data.decode("utf-8", "surrogateescape")
        for route in self._routes:
            text = fill_secrets(text, route.secrets, encode)
        return text.encode("utf-8", "surrogateescape")


def _as_json(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)[1:-1]


def _is_field_value(value: str) -> bool:
    """Whether it may stand in a header: no control characters, no blanks around it."""
    return value == value.strip() and all(each >= " " and each != "\x7f" for each in value)
