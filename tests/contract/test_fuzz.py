"""No generated request is answered with 500, or with anything the document does not say.

``SERAI_FUZZ_SECONDS`` makes the run longer than the usual 30 seconds.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from contract.specs import Json
from platform_server import Server

pytest.importorskip("schemathesis", reason="schemathesis is not installed: make test installs it")
from contract.fuzzing import Fuzzer

SECONDS = float(os.environ.get("SERAI_FUZZ_SECONDS", "30"))
EXAMPLES = 1


@pytest.fixture
def victim(tmp_path: Path) -> Iterator[Server]:
    """A server of its own: the requests delete what they find."""
    server = Server(tmp_path / "data").start()
    yield server
    server.stop()


@pytest.mark.fuzz
@pytest.mark.timeout(SECONDS * 3 + 120)
def test_generated_requests(victim: Server) -> None:
    document: Json = httpx.get(f"{victim.url}/v0/openapi.json", trust_env=False).json()
    fuzzer = Fuzzer(document, victim)
    fuzzer.run(SECONDS, EXAMPLES)
    assert fuzzer.sent > len(fuzzer.operations) * EXAMPLES
    told = [f"{label}: {kind}\n    {text}" for (label, kind), text in fuzzer.problems.items()]
    assert not told, f"{len(told)} problems in {fuzzer.sent} requests\n" + "\n".join(told)
    assert httpx.get(f"{victim.url}/health", trust_env=False).status_code == 200
