"""See bench/run."""

from __future__ import annotations

import argparse

from bench import daily, delete, evict, fetch, put, replicate
from bench.common import scratch

BENCHES = {
    "put": put.run,
    "replicate": replicate.run,
    "fetch": fetch.run,
    "evict": evict.run,
    "delete": delete.run,
    "daily": daily.run,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench/run", description="The benchmarks, each beside its peers in the same run.")
    parser.add_argument("which", nargs="*", choices=[*BENCHES, []], help="default: all")
    parser.add_argument("--quick", action="store_true", help="fewer and smaller rounds: to see that it works, not to compare")
    given = parser.parse_args()
    for name in given.which or BENCHES:
        with scratch(name) as folder:
            BENCHES[name](folder, given.quick)


main()
