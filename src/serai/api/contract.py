"""What the registered route handlers say about themselves: the source of our OpenAPI document.

A handler declares its operation in plain data::

    @get("/v0/agents", operation_id="ListAgents",
         opt={"answer": list[Agent], "paged": "2026-04-28", "query": {"externalId": str}})

``body`` and ``answer`` are types; ``paged`` is the version from which a list is
a page (``PageOf[Agent]`` and any Struct of ``data`` and ``meta`` say the same); ``query``
names further parameters and their types (an iterable of names means text); ``errors`` are further
error statuses; ``answers`` maps further success statuses to their types; ``media`` is what answers
are when they are no JSON; ``scopes`` is what an OAuth credential needs where ``api.scopes`` does
not say; ``public`` means that no credential is needed; ``form`` that the body may be a form;
``error`` is the type of 400 answers of another shape.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args, get_origin

import msgspec
from litestar.handlers import HTTPRouteHandler
from litestar.routes import BaseRoute, HTTPRoute

from serai.api.scopes import scopes_of
from serai.api.versions import PAGES_SINCE

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
VERBS = {"GET": "Get", "POST": "Create", "PUT": "Update", "PATCH": "Patch", "DELETE": "Delete"}
PARAMETER = re.compile(r"{(\w+)}")
WORDS = re.compile(r"[A-Za-z0-9]+")


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One operation as declared.

    Attributes:
        method: upper case.
        path: from ``/v0`` on, with ``{parameters}``.
        id: ``operationId``.
        declared: whether handler carried an id and an answer; else both are guesses.
        summary: one line, from the handler's docstring when it has one.
        body: type of the request body; ``None`` without one.
        answers: success status to type; ``None`` for an empty answer.
        media: media type of the answers.
        paged: version from which the list is a page.
        query: parameter name to type, without those that come with ``paged``.
        errors: statuses of error answers.
        scopes: what an OAuth credential needs, all of them.
        public: whether no credential is needed.
        form: whether the body may be a form as well as JSON.
        error: type of its 400 answers, when it is not the usual one.
    """

    method: str
    path: str
    id: str
    declared: bool
    summary: str
    body: Any
    answers: Mapping[int, Any]
    media: str
    paged: str | None
    query: Mapping[str, Any]
    errors: tuple[int, ...]
    scopes: tuple[str, ...]
    public: bool
    form: bool
    error: Any

    @property
    def parameters(self) -> list[str]:
        """Names of the parameters in the path."""
        return PARAMETER.findall(self.path)

    @property
    def tag(self) -> str:
        """The area it belongs to: the first segment after ``/v0``."""
        return self.path.removeprefix("/v0/").split("/")[0]


def operations(routes: Sequence[BaseRoute]) -> list[Operation]:
    """Every operation below ``/v0``, in order of path and method."""
    found = [
        _operation(handler, method, route.path_format)
        for route in routes
        if isinstance(route, HTTPRoute) and route.path_format.startswith("/v0/")
        for method, handler in _methods(route)
        if not handler.opt.get("hidden")
    ]
    return sorted(found, key=lambda one: (one.path, METHODS.index(one.method)))


def _methods(route: HTTPRoute) -> Iterator[tuple[str, HTTPRouteHandler]]:
    for handler in route.route_handlers:
        for method in handler.http_methods:
            if method in METHODS:
                yield str(method), handler


def _operation(handler: HTTPRouteHandler, method: str, path: str) -> Operation:
    opt = handler.opt
    named = handler.operation_id if isinstance(handler.operation_id, str) else None
    answers, paged = _unpaged(_answers(opt, handler.status_code), opt.get("paged"))
    return Operation(
        method=method,
        path=path,
        id=named or guess_id(method, path),
        declared=named is not None and ("answer" in opt or "answers" in opt),
        summary=opt.get("summary") or _summary(handler, named or guess_id(method, path)),
        body=opt.get("body"),
        answers=answers,
        media=opt.get("media", "application/json"),
        paged=paged,
        query=_query(opt.get("query")),
        errors=_errors(method, path, opt),
        scopes=() if opt.get("public") else tuple(sorted(handler_scopes(handler))),
        public=bool(opt.get("public")),
        form=bool(opt.get("form")),
        error=opt.get("error"),
    )


def handler_scopes(handler: Any) -> frozenset[str]:
    """What a credential with scopes needs for a handler's operation."""
    declared = handler.opt.get("scopes")
    if declared is not None:
        return frozenset(declared)
    named = handler.operation_id
    return scopes_of(named if isinstance(named, str) else None)


def _answers(opt: Mapping[str, Any], status: int) -> dict[int, Any]:
    """Handlers that render bytes themselves answer 200 unless they say otherwise."""
    answer = opt.get("answer", Any)
    return {int(opt.get("status") or status): answer} | dict(opt.get("answers") or {})


def _unpaged(answers: dict[int, Any], paged: str | None) -> tuple[dict[int, Any], str | None]:
    """Answers with ``PageOf[Agent]`` as ``list[Agent]``, and since when that is a page."""
    for status, answer in answers.items():
        if getattr(get_origin(answer) or answer, "__struct_fields__", ()) == ("data", "meta"):
            paged = paged or PAGES_SINCE
            if get_args(answer):
                answers[status] = list[get_args(answer)[0]]  # type: ignore[misc]
    return answers, paged


def _query(given: Any) -> dict[str, Any]:
    if not given:
        return {}
    return dict(given) if isinstance(given, Mapping) else dict.fromkeys(given, str)


def _errors(method: str, path: str, opt: Mapping[str, Any]) -> tuple[int, ...]:
    statuses = {400, 500, *(opt.get("errors") or ())}
    if not opt.get("public"):
        statuses |= {401, 403}
    if PARAMETER.search(path):
        statuses.add(404)
    if method != "GET":
        statuses |= {402, 409, 413}
    return tuple(sorted(statuses))


def _summary(handler: HTTPRouteHandler, operation_id: str) -> str:
    text = (handler.fn.__doc__ or "").strip().split("\n")[0].rstrip(".")
    if text:
        return text
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", operation_id).split()
    rest = [word if word.isupper() else word.lower() for word in words[1:]]
    return " ".join([words[0].capitalize(), *rest])


def guess_id(method: str, path: str) -> str:
    """An operation id from a method and a path, for a handler that declares none."""
    parts = path.removeprefix("/v0/").split("/")
    named = [
        _camel(part if last and not one else _singular(part))
        for part, one, last in _segments(parts)
    ]
    verb = VERBS[method]
    if method == "GET" and not parts[-1].startswith("{"):
        verb = "List"
    if method == "POST" and named:
        named[-1] = _singular(named[-1])
    return verb + "".join(named)


def _segments(parts: list[str]) -> Iterator[tuple[str, bool, bool]]:
    """Every fixed segment, whether a parameter follows it, and whether it is the last one."""
    fixed = [index for index, part in enumerate(parts) if not part.startswith("{")]
    for index in fixed:
        followed = index + 1 < len(parts) and parts[index + 1].startswith("{")
        yield parts[index], followed, index == fixed[-1]


def _singular(word: str) -> str:
    if word.endswith("ies"):
        return word[:-3] + "y"
    if word.endswith(("xes", "sses")):
        return word[:-2]
    return word[:-1] if word.endswith("s") and not word.endswith("ss") else word


def _camel(word: str) -> str:
    return "".join(part[:1].upper() + part[1:] for part in WORDS.findall(word))
