"""Requests per second of the Management API on one worker."""

import statistics

from bench.platform import KEY, requests_per_second, running
from bench.report import Row

SECONDS = 3
CONNECTIONS = 16
DOCUMENTS = 50
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
    ]
