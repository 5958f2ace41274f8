"""The document at /v0/openapi.json: complete, consistent, and about the routes that are there."""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx

from contract.specs import METHODS, Json, lookup
from platform_server import KEY, Server


def described(document: Json) -> Iterator[tuple[str, str, Json]]:
    for path, item in document["paths"].items():
        for method, shown in item.items():
            assert method in METHODS
            yield method.upper(), path, shown


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "$ref":
                yield value
            else:
                yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def test_it_is_openapi_3_1_with_a_way_to_authenticate(ours: Json) -> None:
    assert ours["openapi"].startswith("3.1")
    assert ours["security"] == [{"ApiKey": []}]
    assert ours["components"]["securitySchemes"]["ApiKey"]["scheme"] == "bearer"


def test_every_reference_leads_somewhere(ours: Json) -> None:
    for reference in set(references(ours)):
        assert lookup(ours, reference)


def test_operation_ids_are_unique(ours: Json) -> None:
    counted = Counter(shown["operationId"] for _, _, shown in described(ours))
    assert [name for name, times in counted.items() if times > 1] == []


def test_every_handler_declares_its_operation(ours: Json) -> None:
    missing = [
        f"{method} {path}"
        for method, path, shown in described(ours)
        if shown.get("x-serai-undeclared")
    ]
    assert not missing, f"without operation_id or opt['answer']: {missing}"


def test_parameters_in_paths_are_declared(ours: Json) -> None:
    for method, path, shown in described(ours):
        declared = [one["name"] for one in shown["parameters"] if one.get("in") == "path"]
        assert declared == re.findall(r"{(\w+)}", path), f"{method} {path}"


def test_every_operation_says_how_it_fails(ours: Json) -> None:
    for method, path, shown in described(ours):
        assert {"401", "403"} <= shown["responses"].keys() or shown.get("security") == []
        assert any(code[0] in "2d" for code in shown["responses"]), f"{method} {path}"


def test_absent_means_absent(ours: Json) -> None:
    assert '"null"' not in httpx.Response(200, json=ours["components"]["schemas"]).text


def test_versions_are_named(ours: Json, server: Server) -> None:
    versions = httpx.get(f"{server.url}/v0/versions", trust_env=False).json()
    header = ours["components"]["parameters"]["Version"]
    assert header["name"] == "Blaxel-Version"
    assert header["schema"]["enum"] == [one["version"] for one in versions["versions"]]


def test_public_operations_need_no_key_and_others_do(ours: Json, server: Server) -> None:
    with httpx.Client(base_url=server.url, trust_env=False) as client:
        for method, path, shown in described(ours):
            if not path.startswith("/v0/"):
                continue
            status = client.request(method, re.sub(r"{\w+}", "x", path)).status_code
            expected = shown.get("security") == []
            assert (status != 401) == expected, f"{method} {path} answered {status}"


def test_every_described_path_is_routed(ours: Json, server: Server) -> None:
    with server.client_for(KEY) as client:
        for method, path, _ in described(ours):
            if method == "GET" and path.startswith("/v0/"):
                answer = client.get(re.sub(r"{\w+}", "no-such-thing", path))
                assert "nothing at this path" not in answer.text, path
