"""The patterns of allowed and forbidden destinations: ``[!]METHOD:…:domain[/path]``.

The grammar is that of the hosted service's domain filtering.
"""

import re
from collections.abc import Iterable
from ipaddress import IPv6Address

import msgspec

_METHOD = re.compile(r"[A-Za-z]+")
_HOST = re.compile(r"\*|(?:\*\.)?[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?")
_ESCAPED = re.compile(rb"%([0-9A-Fa-f]{2})")
_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/")


class Pattern(msgspec.Struct, frozen=True):
    """One destination; see ``parse``.

    Attributes:
        domain: ``*``, ``*.suffix`` or one name, in lower case.
        methods: those it is about; any when empty.
        negated: it is about every method but ``methods``.
        path: what the path begins with, ``*`` standing for anything; any path when empty.
    """

    domain: str
    methods: frozenset[str] = frozenset()
    negated: bool = False
    path: str = ""

    @property
    def is_domain_only(self) -> bool:
        """Whether the name alone decides."""
        return not self.methods and not self.path

    def names(self, host: str) -> bool:
        """Whether it is about this host at all, whatever the method and path."""
        if self.domain == "*":
            return True
        if self.domain.startswith("*."):
            return host.endswith(self.domain[1:]) and len(host) > len(self.domain) - 1
        return host == self.domain

    def matches(self, host: str, method: str, path: str) -> bool:
        """Whether it is about this request; ``path`` is canonical."""
        if not self.names(host):
            return False
        if self.methods and (method.upper() in self.methods) is self.negated:
            return False
        return not self.path or _matches_path(self.path, path)


def parse(text: str) -> Pattern:
    """Read one pattern. What does not have its shape is a name that nothing bears."""
    literal = Pattern(domain=text.strip().lower())
    rest, negated = (text[1:], True) if text.startswith("!") else (text, False)
    head, slash, tail = rest.partition("/")
    if not negated and (address := _ipv6(head)):
        return Pattern(domain=address, path=slash + tail)
    *methods, domain = head.split(":")
    fits = _HOST.fullmatch(domain.lower()) and all(_METHOD.fullmatch(each) for each in methods)
    if not fits or (negated and not methods):
        return literal
    return Pattern(
        domain=domain.lower().rstrip("."),
        methods=frozenset(method.upper() for method in methods),
        negated=negated,
        path=slash + tail,
    )


def _ipv6(text: str) -> str | None:
    try:
        return str(IPv6Address(text.removeprefix("[").removesuffix("]")))
    except ValueError:
        return None


def parse_all(texts: Iterable[str]) -> tuple[Pattern, ...]:
    """Read patterns in order."""
    return tuple(parse(text) for text in texts)


def host_of(text: str) -> str:
    """The name in ``host[:port]``, as patterns compare it."""
    name = text.strip().lower()
    if name.startswith("["):
        return name[1:].partition("]")[0]
    host, colon, port = name.rpartition(":")
    if colon and port.isdigit() and ":" not in host:
        name = host
    return name.rstrip(".")


def canonical_path(target: str) -> str:
    """The path of a request target, without query, dot segments, doubled slashes and escapes.

    Percent escapes of characters that need none are undone, repeatedly, so that neither
    ``%2e%2e`` nor ``%252e`` slips past a prefix; ``\\`` counts as ``/``.
    """
    path = target.partition("?")[0].partition("#")[0].encode("utf-8", "surrogateescape")
    while (plain := _ESCAPED.sub(_unescape, path)) != path:
        path = plain
    path = path.replace(b"\\", b"/")
    kept: list[bytes] = []
    segments = path.split(b"/")
    for segment in segments:
        if segment == b"..":
            del kept[-1:]
        elif segment not in (b"", b"."):
            kept.append(segment)
    ends_in_folder = segments[-1] in (b"", b".", b"..") and kept
    return (b"/" + b"/".join(kept) + (b"/" if ends_in_folder else b"")).decode("latin-1")


def _unescape(match: "re.Match[bytes]") -> bytes:
    byte = int(match[1], 16)
    return bytes([byte]) if byte in _UNRESERVED or byte in b"%\\" else match[0].upper()


def _matches_path(pattern: str, path: str) -> bool:
    """Prefix match without backtracking: each part of the pattern at its first place."""
    first, *others = pattern.split("*")
    if not path.startswith(first):
        return False
    at = len(first)
    for part in others:
        found = path.find(part, at)
        if found < 0:
            return False
        at = found + len(part)
    return True
