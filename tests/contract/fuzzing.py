"""Generated requests against a real server: each operation gets valid and broken ones."""

import time
from collections.abc import Iterator
from typing import Any

import requests
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode, openapi
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from contract.fuzzing_seeds import NAME, plant
from contract.specs import Json
from platform_server import KEY, LATEST, Server

ORDER = ("POST", "GET", "PUT", "DELETE")
ROUTING = frozenset({404, 405})
"""Statuses that the router answers when a generated name changes the path itself."""

ENDLESS = {"/v0/changes"}
"""Paths whose answers have no end: they have tests of their own."""

HEADERS = {"X-Blaxel-Authorization": f"Bearer {KEY}", "Blaxel-Version": LATEST}
AIMED = st.sampled_from([NAME, NAME, f"{NAME}-a", f"{NAME}-b", f"{NAME}-c", ""])

QUICK = settings(
    deadline=None,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
    print_blob=False,
)


class Fuzzer:
    """Sends generated requests and collects what should not have happened, once per kind."""

    def __init__(self, document: Json, server: Server) -> None:
        paths = {path: item for path, item in document["paths"].items() if path[:4] == "/v0/"}
        schema = openapi.from_dict(document | {"paths": paths})
        found = [result.ok() for result in schema.get_all_operations()]
        found = [one for one in found if one.path not in ENDLESS]
        self.operations = sorted(found, key=lambda one: ORDER.index(one.method.upper()))
        self.server = server
        self.session = requests.Session()
        self.session.trust_env = False
        self.sent = 0
        self.problems: dict[tuple[str, str], str] = {}

    def run(self, seconds: float, examples: int) -> None:
        """Rounds over all operations until the time is over; the first one is always whole."""
        end = time.monotonic() + seconds
        number = 0
        while number == 0 or time.monotonic() < end:
            with self.server.client_for(KEY) as client:
                plant(client)
            for operation, mode in self._plan():
                if number and time.monotonic() > end:
                    return
                self._try(operation, mode, examples, number)
            number += 1

    def _plan(self) -> Iterator[tuple[Any, GenerationMode]]:
        for operation in self.operations:
            yield operation, GenerationMode.POSITIVE
            yield operation, GenerationMode.NEGATIVE

    def _try(self, operation: Any, mode: GenerationMode, examples: int, number: int) -> None:
        @seed(number)
        @settings(QUICK, max_examples=examples)
        @given(case=operation.as_strategy(mode), aimed=AIMED)
        def send(case: Any, aimed: str) -> None:
            if aimed:
                aim(case, aimed)
            self.send(operation, case)

        try:
            send()
        except Exception as problem:
            if "Unsatisfiable" not in type(problem).__name__:
                self.note(operation.label, type(problem).__name__, str(problem)[:400])

    def send(self, operation: Any, case: Any) -> None:
        """Send one request and judge the answer."""
        self.sent += 1
        case.headers = {}
        try:
            response = case.call(
                base_url=self.server.url, session=self.session, headers=HEADERS, timeout=30
            )
        except (UnicodeError, requests.exceptions.InvalidHeader):
            return  # No HTTP client can put this on the wire.
        except requests.RequestException as problem:
            self.note(operation.label, "no answer", repr(problem)[:300])
            return
        checks = [content_type_conformance, response_schema_conformance]
        if response.status_code == 500:
            self.note(operation.label, "500", _told(case, response, ""))
        if response.status_code not in ROUTING:
            checks.append(status_code_conformance)
        try:
            case.validate_response(response, checks=checks)
        except (FailureGroup, Failure) as failed:
            for one in getattr(failed, "exceptions", (failed,)):
                self.note(operation.label, one.title, _told(case, response, one))

    def note(self, label: str, kind: str, text: str) -> None:
        """Keep the first problem of a kind in an operation."""
        self.problems.setdefault((label, kind), text)


def aim(case: Any, name: str) -> None:
    """Let a request speak of the resource that others made, or make one of this name."""
    for name in case.path_parameters or {}:
        case.path_parameters[name] = NAME
    metadata = case.body.get("metadata") if isinstance(case.body, dict) else None
    if isinstance(metadata, dict):
        case.body = case.body | {"metadata": metadata | {"name": name}}


def _told(case: Any, response: Any, failed: Any) -> str:
    body = repr(case.body)[:300]
    answer = response.text[:300]
    query = dict(list((case.query or {}).items())[:8])
    return (
        f"{case.method} {case.formatted_path[:120]} {query} {body}\n    -> {response.status_code} "
        f"{answer}\n    {str(failed)[:300]}"
    )
