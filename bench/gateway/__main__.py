"""``python -m bench.gateway [rounds]``."""

import sys

from bench.gateway.comparison import Skipped, run


def main() -> int:
    """Print the comparison; exit 0 also when a tool is missing."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    try:
        results = run(rounds)
    except Skipped as reason:
        print(f"skipped: {reason}")
        return 0
    for result in results:
        print(
            f"{result.name:28} {result.value:10.1f} {result.unit:8}"
            f" nginx {result.baseline:10.1f}   ratio {result.ratio:5.2f}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
