"""``python -m benchmarks [NAME ...]``: run every ``bench_NAME.py`` here, or those named.

A benchmark is a module with ``main() -> None`` that prints a table. Figures from different runs are not
comparable: read the ratios to the references of the same run.
"""

import importlib
import os
import platform
import sys
from datetime import UTC, datetime
from pathlib import Path


def main(names: list[str]) -> int:
    """Run the benchmarks in `names`, or all if it is empty; return the exit code."""
    if "--help" in names or "-h" in names:
        print(__doc__)
        return 0
    known = sorted(path.stem.removeprefix("bench_") for path in Path(__file__).parent.glob("bench_*.py"))
    unknown = [name for name in names if name not in known]
    if unknown:
        print(f"unknown benchmark {unknown[0]!r}, expected one of {', '.join(known)}", file=sys.stderr)
        return 2
    load = " ".join(f"{value:.1f}" for value in os.getloadavg())
    print(
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, CPython {platform.python_version()}, {platform.platform()}"
    )
    print(f"{os.cpu_count()} processors, load before the run {load}")
    for name in names or known:
        print(f"\n== {name}", flush=True)
        importlib.import_module(f"benchmarks.bench_{name}").main()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
