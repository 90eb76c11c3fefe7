"""The result file and the HTML page of a run: bytes per result, and time to make the page (goal: 100 bytes, see LIMITS).

A run of one family of operators on the reference and on torch, or the result file that is named. Time is a ratio to that of
writing the same records as lines of JSON. Run: python -m benchmarks.report [FILE.jsonl]
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from benchmarks.measure import one_thread, ratios

one_thread()

FAMILY = "ops.special"
LIMITS = {"results": 1_200.0, "packed results": 130.0, "page": 100.0, "time": 4.0}
BARE = 45_000  # bytes of a page without cases: style sheet, script, summary


def sizes(records: list, page: str, folder: Path) -> dict[str, float]:
    """Bytes per result of each file."""
    from conformance.records import Result
    from conformance.results import Writer

    results = sum(isinstance(record, Result) for record in records)
    written = {"page": (len(page.encode()) - BARE) / results}
    for name, file in (("results", folder / "r.jsonl"), ("packed results", folder / "r.jsonl.gz")):
        with Writer(file) as writer:
            for record in records:
                writer.append(record)
        written[name] = file.stat().st_size / results
    return written


def main() -> None:
    """Measures and prints; exits 1 above a limit."""
    from click.testing import CliRunner

    from conformance.cli import cli
    from conformance.results import encode, read
    from reports import html

    with tempfile.TemporaryDirectory() as name:
        file = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(name) / "run.jsonl"
        if len(sys.argv) == 1:
            CliRunner().invoke(cli, ["run", FAMILY, "--results", str(file), "-j", "1"])
        records = list(read(file).records)
        measured = sizes(records, html.render(records), Path(name))
    contenders = {"page": lambda: html.render(records), "JSON": lambda: [encode(record) for record in records]}
    times = ratios(contenders, "JSON", rounds=9)
    measured["time"] = times["page"][0]
    for what, size in measured.items():
        unit = "times that of JSON" if what == "time" else "bytes per result"
        print(f"{what:<15} {size:8.1f} {unit}  (limit {LIMITS[what]:g})")
    print(f"{len(records)} records, page in {times['page'][1]:.2f} s")
    if above := [what for what, size in measured.items() if size > LIMITS[what]]:
        sys.exit(f"above the limit: {', '.join(above)}")


if __name__ == "__main__":
    main()
