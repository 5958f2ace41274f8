"""``/swagger``: the API's own description says what there is, and no more."""

import json
import re
from functools import cache
from typing import Any

import pytest
import yaml

from contract.specs import lookup, spec_folder
from contract.test_openapi import references
from serai.sandboxd.main import Api

from .client import Sandbox

NAME = re.compile(r"{\w+}")
UNSAID = {(method, "/") for method in ("GET", "POST", "PUT", "DELETE", "PATCH")}
UNSAID |= {(method, "/filesystem/tree") for method in ("GET", "PUT", "DELETE")} | {("GET", "/mcp")}
UNSAID |= {("GET", "/standby"), ("GET", "/archive/processes")}  # the platform's own questions
UNSAID |= {("POST", "/task"), ("GET", "/task/{}"), ("PUT", "/task/data")}
UNSAID |= {("GET", f"/archive/{call}") for call in ("quiesced", "content")}
UNSAID |= {("POST", f"/archive/{call}") for call in ("begin", "plan", "beat", "finish")}
UNSAID |= {(method, "/stdio/{}") for method in ("GET", "PUT", "DELETE")}
UNSAID |= {(method, "/stdio/{}/mcp") for method in ("GET", "POST", "DELETE")}
UNSAID |= {("POST", "/stdio/{}/probe"), ("GET", "/stdio/{}/logs")}


@cache
def described() -> Any:
    from serai.sandboxd.description import document

    return json.loads(document())


def operations() -> set[tuple[str, str]]:
    return {
        (method.upper(), NAME.sub("{}", path))
        for path, methods in described()["paths"].items()
        for method in methods
    }


def test_it_is_whole() -> None:
    document = described()
    assert document["openapi"].startswith("3.1")
    for reference in set(references(document)):
        assert lookup(document, reference)
    ids = [one["operationId"] for item in document["paths"].values() for one in item.values()]
    assert len(ids) == len(set(ids))
    for path, item in document["paths"].items():
        for one in item.values():
            named = {each["name"] for each in one["parameters"] if each["in"] == "path"}
            assert named == set(re.findall(r"{(\w+)}", path))


def test_it_names_every_route_and_no_other() -> None:
    routed = {
        (method, NAME.sub("{}", path.replace("{path}", "/{path}")))
        for method, path in Api().router.routes()
        if method != "HEAD" and not path.startswith("/swagger")
    }
    assert routed - UNSAID == operations()


def test_it_has_every_operation_and_parameter_of_the_contract() -> None:
    folder = spec_folder()
    if folder is None:
        pytest.skip("NOT TESTED: the contract is not beside this checkout")
    wanted = yaml.safe_load((folder / "sandbox-api.openapi.yml").read_text())
    ours = described()["paths"]
    for path, methods in wanted["paths"].items():
        for method in set(methods) & {"get", "put", "post", "delete"}:
            one = ours[path][method]
            theirs = {
                each["name"]
                for each in methods[method].get("parameters", [])
                if each["in"] == "query"
            }
            mine = {each["name"] for each in one["parameters"] if each["in"] == "query"}
            assert theirs <= mine, (method, path)


def test_the_page_needs_nothing_from_elsewhere(sandbox: Sandbox) -> None:
    for path, below in (("/swagger", "swagger/index.html"), ("/swagger/", "index.html")):
        answer = sandbox.call("GET", path)
        assert (answer.status, answer.headers["Location"]) == (301, below)
    page = sandbox.call("GET", "/swagger/index.html")
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert not re.search(rb"(?:src|href)=\"(?:https?:)?//", page.body)
    rules = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in rules
    assert "unsafe" not in rules
    assert json.loads(sandbox.call("GET", "/swagger/doc.json").body) == described()
    assert sandbox.call("POST", "/swagger/doc.json").status == 404
