"""Errors as a page, for people who open a preview in a browser."""

from html import escape
from http import HTTPStatus

from serai.gateway.request import Request
from serai.kernel.errors import SeraiError

POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta name="robots" content="noindex"><title>{title}</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 34rem; margin: 18vh auto 0;
  padding: 0 1.5rem; }}
h1 {{ font-size: 1.35rem; margin: 0 0 .5rem; }}
p {{ margin: 0 0 .75rem; overflow-wrap: anywhere; }}
small {{ opacity: .65; overflow-wrap: anywhere; }}
</style>
<h1>{title}</h1><p>{message}</p><small>{status} {code} &middot; request {request_id}</small>
"""
_TITLES = {
    401: "This preview is private",
    404: "There is nothing here",
    421: "This domain is not in use",
    502: "The app does not answer",
    504: "The app does not answer",
}


def wants_page(request: Request) -> bool:
    """Whether it is a browser that opens a page, and not a script that fetches something."""
    if request.method not in (b"GET", b"HEAD") or request.upgrade:
        return False
    destination = request.index.get(b"sec-fetch-dest", b"document")
    return (
        destination in (b"document", b"iframe", b"frame")
        and b"text/html" in (request.index.get(b"accept") or b"").lower()
    )


def page(problem: SeraiError, request_id: str) -> bytes:
    """The page that tells of a problem."""
    status = HTTPStatus(problem.status).phrase
    return _PAGE.format(
        title=escape(_TITLES.get(problem.status, status)),
        message=escape(problem.message),
        status=problem.status,
        code=escape(problem.code),
        request_id=escape(request_id),
    ).encode("utf-8", "replace")
