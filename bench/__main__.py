"""``python -m bench [--rounds N] [NAME…]``: measure and print figures beside their baselines."""

import argparse
import sys
from collections.abc import Callable

from bench import (
    authentication,
    calls,
    forks,
    hosting,
    jobs,
    logs,
    management,
    sandbox_api,
    sandboxes,
    startup,
    usage,
)
from bench.gateway.comparison import Comparison
from bench.gateway.report import as_rows
from bench.platform import Skipped
from bench.report import Row, show


def gateway(rounds: int) -> list[Row]:
    """The gateway's CPU per model call, beside nginx; `make bench-gateway` compares with more."""
    workloads = ["json", "stream"]
    return as_rows(Comparison(["nginx"], workloads, rounds, quick=False).run().samples)


SUITES: dict[str, tuple[str, Callable[[int], list[Row]]]] = {
    "startup": ("Start", startup.run),
    "management": ("Management API, one worker, 16 connections", management.run),
    "sandboxes": ("Sandboxes, through the official Python SDK", sandboxes.run),
    "sandbox-api": ("The API inside a sandbox", sandbox_api.run),
    "hosting": ("Agents: first request, warm requests, and a switch of revisions", hosting.run),
    "forks": ("Forks of a sandbox with 100 MB of files", forks.run),
    "jobs": ("Tasks of jobs", jobs.run),
    "authentication": ("Authentication of a gateway request, cache warm", authentication.run),
    "usage": ("Usage: recording it, and a year of it answered over HTTP", usage.run),
    "calls": ("A JSON model call in the gateway's own code, in process", calls.run),
    "logs": ("Logs: keeping lines, and searching an hour of one resource over HTTP", logs.run),
    "gateway": ("Gateway: JSON model calls with authentication and token metering", gateway),
}


def main() -> int:
    """Run the suites named on the command line, or all."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(SUITES)}")
    parser.add_argument("--rounds", type=int, default=5, help="medians are over this many rounds")
    options = parser.parse_args()
    unknown = set(options.names) - set(SUITES)
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(SUITES)}")
    missed = False
    for name in options.names or SUITES:
        title, run = SUITES[name]
        try:
            rows = run(options.rounds)
        except Skipped as reason:
            print(f"\n{title}\n  skipped: {reason}")
            continue
        show(title, rows)
        missed = missed or any(row.met is False for row in rows)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
