"""From a raw request target to the thing it addresses.

Everything works on the raw bytes: nothing is percent-decoded and no slashes are merged, because
``//tmp/x`` and ``%2Ftmp%2Fx`` mean something to the sandbox API.
"""

from urllib.parse import unquote

import msgspec

KINDS = frozenset({b"agents", b"applications", b"functions", b"models", b"sandboxes", b"jobs"})

RESERVED = frozenset(
    {
        b"",
        b".well-known",
        b"account",
        b"api",
        b"assets",
        b"console",
        b"device",
        b"docs",
        b"favicon.ico",
        b"health",
        b"invitations",
        b"login",
        b"logout",
        b"metrics",
        b"oauth",
        b"openapi.json",
        b"preview",
        b"previews",
        b"robots.txt",
        b"run",
        b"setup",
        b"static",
        b"uploads",
        b"v0",
        b"v1",
    }
)
"""First path segments that never name a workspace; the management API refuses such names."""


class Target(msgspec.Struct, frozen=True, gc=False):
    """What a gateway path addresses.

    Attributes:
        workspace: workspace name, as written.
        kind: ``agents``, ``applications``, ``functions``, ``models``, ``sandboxes`` or ``jobs``;
            ``preview`` for a preview, which has no workspace here and whose name is its slug;
            ``preview-host`` for one that has ``host`` to itself, ``unverified`` for a host that is
            nobody's.
        name: resource name, as written.
        rest: what follows the name, with its leading slash; empty when nothing follows.
        query: what follows the ``?``; None without one.
        host: the name of its own by which a preview was asked for, without port.
        fallback: where a preview stands in for others, the part of the name that names none, and
            the domain it is below.
        trigger: id of the trigger of a deployment whose path was asked for; empty for none.
    """

    workspace: str
    kind: bytes
    name: str
    rest: bytes
    query: bytes | None
    host: str = ""
    fallback: tuple[str, str] | None = None
    trigger: str = ""

    def path(self) -> bytes:
        """The path that this was made of; for a preview without what stands before its slug."""
        return b"/%b/%b/%b%b" % (
            self.workspace.encode("latin-1"),
            self.kind,
            self.name.encode("latin-1"),
            self.rest,
        )


def origin_form(url: bytes) -> bytes:
    """``http://host/path`` as ``/path``; every other target unchanged."""
    if url[:1] == b"/" or b"://" not in url[:8]:
        return url
    slash = url.find(b"/", url.index(b"://") + 3)
    return b"/" if slash < 0 else url[slash:]


def split(url: bytes) -> Target | None:
    """The target of ``/{workspace}/{kind}/{name}…``, ``/run/…`` of the same, or a preview."""
    path, mark, query = url.partition(b"?")
    if path[:9] == b"/preview/":
        slug, slash, rest = path[9:].partition(b"/")
        place = slug.decode("latin-1")
        return Target("", b"preview", place, slash + rest, query if mark else None)
    if path[:5] == b"/run/":
        path = path[4:]
    parts = path.split(b"/", 4)
    if len(parts) < 4:
        return None
    _, workspace, kind, name = parts[:4]
    if kind not in KINDS or not name or workspace in RESERVED:
        return None
    rest = b"/" + parts[4] if len(parts) == 5 else b""
    return Target(
        workspace.decode("latin-1"),
        kind,
        name.decode("latin-1"),
        rest,
        query if mark else None,
    )


def join(path: bytes, query: bytes | None) -> bytes:
    """Path and query as a request target."""
    return path if query is None else path + b"?" + query


def port_of(rest: bytes) -> tuple[int, bytes] | None:
    """Split ``/port/{n}{path}`` into the port and the path inside (``/`` when absent).

    None when the path addresses no port; port 0 when the number is not one.
    """
    if not rest.startswith(b"/port/"):
        return None
    digits, slash, path = rest[6:].partition(b"/")
    number = int(digits) if digits.isdigit() and len(digits) <= 5 else 0
    return (number if number <= 65535 else 0), slash + path if slash else b"/"


def take_parameter(query: bytes | None, name: bytes) -> tuple[str | None, bytes | None]:
    """Take a parameter out of a query: its decoded value, and the query without it.

    The order and spelling of the other parameters stay as they were.
    """
    if not query:
        return None, query
    value: str | None = None
    kept = []
    for pair in query.split(b"&"):
        key, _, text = pair.partition(b"=")
        if key == name:
            value = value or unquote(text.decode("latin-1").replace("+", " "))
        else:
            kept.append(pair)
    return value, b"&".join(kept) or None
