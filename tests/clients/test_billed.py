"""What was used through the official Python SDK is on the bill, for as long as it was used."""

import json
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from platform_server import Server, today

from .conftest import connected
from .environments import PYTHON_VERSIONS, directory
from .model_server import ModelServer

pytestmark = [pytest.mark.clients, pytest.mark.sandbox]
DRIVE_MB = 3


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path / "data", NO_PROXY="*", no_proxy="*")
    yield server.start()
    server.stop()


def bill(server: Server) -> dict[str, float]:
    """Usage by dimension."""
    account = server.client.get("/v0/accounts").json()[0]["id"]
    query = today(groupBy="billing_dimension")
    answer = server.client.get(f"/v0/accounts/{account}/metrics", params=query).json()
    return {row["billingDimension"]: row["summary"]["usage"] for row in answer["data"]}


def test_what_ran_and_what_was_kept_is_on_the_bill(
    own: Server, model_server: ModelServer, tmp_path: Path
) -> None:
    interpreter = directory("py", PYTHON_VERSIONS[0]) / "bin" / "python"
    work = tmp_path / "work"
    work.mkdir()
    python = connected(own, work, str(interpreter))
    expected = json.loads(python("billed.py", model_server.url, "sk-of-the-provider"))
    time.sleep(1.5)  # model calls are written each second
    found = bill(own)
    assert found.keys() == expected.keys()
    for dimension, (least, most) in expected.items():
        # A GB-second each for edges: the time of an answer on its way is not ours to know.
        slack = 0 if dimension.endswith("_count") else 0.01
        assert least - slack <= found[dimension] <= most + slack, dimension

    assert own.client.get("/v0/drives/billed/folders").json() == []
    (drive,) = [path for path in own.drives.glob("*") if path.name[0] != "."]
    (drive / "file").write_bytes(b"x" * DRIVE_MB * 1024 * 1024)
    own.stop()
    begin = time.monotonic()
    own.start()  # drives are measured at the start, and each minute
    time.sleep(1)
    stored = bill(own)["drive_storage_gbs"]
    assert 0 < stored <= (DRIVE_MB + 1) / 1024 * (time.monotonic() - begin)

    verified = own.run("usage", "verify")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert "all agree" in verified.stdout
    with sqlite3.connect(own.data_dir / "usage.db") as raw:
        raw.execute("UPDATE usage_hours SET quantity = quantity + 1")
    differing = own.run("usage", "verify")
    assert differing.returncode == 1, differing.stderr
    assert "model_requests_count" in differing.stdout
    assert own.client.get("/health").json()["usage"] == {"setAside": 0}
