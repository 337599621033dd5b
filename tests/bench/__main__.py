"""``make bench``: runs every benchmark and writes docs/benchmarks.md. Ratios are of one run; machines are noisy."""

from __future__ import annotations

import importlib
import platform
import sys
from pathlib import Path

from tests.bench.row import Row

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / "support")]
MODULES = sorted(path.stem for path in Path(__file__).parent.glob("bench_*.py"))


def page(rows: list[Row]) -> str:
    """docs/benchmarks.md."""
    lines = [
        "<!-- written by `make bench`: do not edit -->",
        "# Benchmarks",
        "",
        f"One run of `make bench` on {platform.machine()}, {cpu()}, Python {platform.python_version()}.",
        "`x` is how many times faster than the reference, in CPU time, interleaved in the same run.",
        "",
        "| what | reference | measured | target | |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        sign = "≥" if row.at_least else "≤"
        verdict = "ok" if row.good else "**missed**"
        measured, wanted = f"{row.value:,.4g} {row.unit}", f"{sign} {row.target:,g} {row.unit}"
        lines.append(f"| {row.name} | {row.reference} | {measured} | {wanted} | {verdict} |")
    return "\n".join(lines) + "\n"


def cpu() -> str:
    """The processor's name, as far as the system tells."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in text.splitlines() if line.startswith("model name")), "?")


def main(wanted: list[str]) -> int:
    """Runs the modules named (default: all); the page is only written when all ran. Returns 1 if a target is missed."""
    rows: list[Row] = []
    for name in MODULES:
        if wanted and name.removeprefix("bench_") not in wanted:
            continue
        for row in importlib.import_module(f"tests.bench.{name}").rows():
            rows.append(row)
            sys.stdout.write(f"{'ok    ' if row.good else 'MISSED'} {row.name}: {row.value:,.4g} {row.unit} "
                             f"(target {row.target:,g}; against {row.reference})\n")  # fmt: skip
            sys.stdout.flush()
    if not wanted:
        (ROOT / "docs" / "benchmarks.md").write_text(page(rows))
    return 0 if all(row.good for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
