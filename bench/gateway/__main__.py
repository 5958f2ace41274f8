"""``make bench-gateway``: the model gateway beside nginx and other gateways."""

import argparse
import signal
import sys

from bench.gateway.comparison import Comparison
from bench.gateway.report import details, table
from bench.gateway.targets import TARGETS
from bench.gateway.workloads import WORKLOADS
from bench.platform import Skipped


def main() -> int:
    """Measure and print; 1 when a goal was missed, 0 when all that was measured is met."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started ends with us
    parser = argparse.ArgumentParser(prog="python -m bench.gateway", description=__doc__)
    workloads = [workload.name for workload in WORKLOADS] + ["leave", "memory", "crash"]
    parser.add_argument(
        "--targets", default=",".join(TARGETS), help="of %(default)s; serai is always one"
    )
    parser.add_argument("--workloads", default=",".join(workloads), help="of %(default)s")
    parser.add_argument("--rounds", type=int, default=5, help="medians are over this many rounds")
    parser.add_argument(
        "--quick", action="store_true", help="one short round each: shows that it runs, no more"
    )
    options = parser.parse_args()
    targets, chosen = options.targets.split(","), options.workloads.split(",")
    for given, known in ((targets, list(TARGETS)), (chosen, workloads)):
        unknown = set(given) - set(known)
        if unknown:
            parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    try:
        result = Comparison(targets, chosen, options.rounds, quick=options.quick).run()
    except Skipped as reason:
        print(f"skipped: {reason}")
        return 0
    print(f"\n{result.conditions}\n\n{table(result.lines)}\n\n{details(result.samples)}")
    return 1 if any(line.met is False for line in result.lines) and not options.quick else 0


if __name__ == "__main__":
    sys.exit(main())
