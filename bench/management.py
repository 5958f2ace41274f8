"""The Management API on one worker: requests per second, and times in a very large workspace."""

import http.client
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import Connection, insert

from bench.platform import KEY, Platform, requests_per_second, running
from bench.report import Row
from serai.store.database import Database
from serai.store.tables.documents import documents

SECONDS = 3
CONNECTIONS = 16
DOCUMENTS = 50
MANY = 100_000
REQUESTS = 200
SPEC = {
    "runtime": {"type": "openai", "model": "gpt-4o-mini"},
    "integrationConnections": ["openai"],
}
HEADERS = (f"Authorization: Bearer {KEY}", "Blaxel-Version: 2026-04-28")


def run(rounds: int) -> list[Row]:
    """GET of one model and of a list of 50, beside ``/health``, which touches no store."""
    samples: dict[str, list[float]] = {"one": [], "list": [], "health": []}
    with running() as platform:
        for number in range(DOCUMENTS):
            platform.post("/v0/models", f"model-{number}", SPEC)
        paths = {"one": "/v0/models/model-7", "list": "/v0/models?limit=50", "health": "/health"}
        for _ in range(rounds):
            for name, path in paths.items():
                rate = requests_per_second(platform.url + path, SECONDS, CONNECTIONS, *HEADERS)
                samples[name].append(rate)
    one, many, health = (statistics.median(samples[name]) for name in ("one", "list", "health"))
    return [
        Row("GET one resource", one, "req/s", ("/health", health), "2,000", one >= 2000),
        Row("GET list of 50", many, "req/s", ("/health", health), "1,000", many >= 1000),
        *_large_workspace(),
    ]


def _large_workspace() -> list[Row]:
    """Medians of a client's whole wait, one request at a time, among 100,000 agents."""
    name = f"agent-{MANY - 7:06}"
    paths = {
        "page of 50, first": ("/v0/agents?limit=50", 10),
        "page of 50, in the middle": ("", 10),
        "page of 50, last": ("/v0/agents?limit=50&anchor=end", 10),
        "page of 50 by name": ("/v0/agents?limit=50&sort=name:asc", 10),
        "page of 50 of one status": ("/v0/agents?limit=50&status=FAILED", 10),
        "search, one match": (f"/v0/agents?q={name}", 10),
        "search, all match": ("/v0/agents?q=agent", 10),
        "GET by name": (f"/v0/agents/{name}", 2),
        "find by external id": (f"/v0/agents?externalId=x-{MANY - 7}", 2),
    }
    rows = []
    with tempfile.TemporaryDirectory(prefix="serai-bench-") as folder:
        platform = Platform(Path(folder))
        platform.start()
        platform.stop()
        _fill(Path(folder) / "serai.db", platform.url)
        platform.start()
        connection = http.client.HTTPConnection("127.0.0.1", platform.port)
        try:
            for title, (path, goal) in paths.items():
                taken = _median_ms(connection, path or _middle(connection))
                label = f"{title}, of {MANY:,}"
                rows.append(Row(label, taken, "ms", None, f"{goal} ms", taken <= goal))
        finally:
            connection.close()
            platform.stop()
    return rows


def _median_ms(connection: http.client.HTTPConnection, path: str) -> float:
    times = []
    for _ in range(REQUESTS):
        begin = time.perf_counter()
        _get(connection, path)
        times.append(time.perf_counter() - begin)
    return statistics.median(times) * 1000


def _middle(connection: http.client.HTTPConnection) -> str:
    """A page 40 pages of 200 into the list."""
    path = "/v0/agents?limit=200"
    for _ in range(40):
        cursor = _get(connection, path)["meta"]["nextCursor"]
        path = f"/v0/agents?limit=200&cursor={cursor}"
    return path.replace("limit=200", "limit=50")


def _get(connection: http.client.HTTPConnection, path: str) -> Any:
    connection.request("GET", path, headers=dict(line.split(": ") for line in HEADERS))
    response = connection.getresponse()
    body = response.read()
    if response.status != 200:
        raise RuntimeError(f"{path}: {response.status} {body[:200]!r}")
    return msgspec.json.decode(body)


def _fill(path: Path, origin: str) -> None:
    """100,000 agents, put straight into the database of a stopped server."""
    database = Database(path)
    database.open()

    def write(conn: Connection) -> None:
        for start in range(0, MANY, 10_000):
            rows = [_row(number, origin) for number in range(start, start + 10_000)]
            conn.execute(insert(documents), rows)

    database.submit(write).result()
    database.close()


def _row(number: int, origin: str) -> dict[str, Any]:
    name, moment = f"agent-{number:06}", f"2026-01-01T{number // 3600:02}:{number // 60 % 60:02}"
    metadata = {"name": name, "externalId": f"x-{number}", "workspace": "main", "createdAt": moment}
    metadata |= {"labels": {"team": "bench"}, "url": f"{origin}/main/agents/{name}"}
    spec = {"runtime": {"image": "team/agent:1", "envs": [{"name": "A", "value": "v" * 200}]}}
    status = "FAILED" if number % 10_000 == 0 else "DEPLOYED"
    body = msgspec.json.encode({"metadata": metadata, "spec": spec, "status": status}).decode()
    row = {"id": f"{number:016}", "workspace": "main", "kind": "agent", "parent": "", "name": name}
    row |= {"external_id": f"x-{number}", "status": status, "search": f"{name}\nx-{number}\nteam"}
    return row | {"generation": 1, "created_at": moment, "updated_at": moment, "body": body}
