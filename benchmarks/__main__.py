"""`make bench`: every benchmark, one after another, and one table of all their rows.

    python -m benchmarks [--full] [--only PART ...] [--markdown FILE] [--json FILE]

The table has the minimum, the median and the maximum of every row, the ratio and the goal; under it stand what
limits a row, the machine, the versions, and the command of each part with the time that it took. `--full` is
`FULL=1`: all sizes and more runs. A row that could not be had says why. The files are written after each part, so
that a run that is broken off keeps what it has.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.machine import machine, versions
from benchmarks.parts import PARTS, of_no_part, run, write_rows
from benchmarks.table import Measured, markdown, plain, show


def main() -> None:
    """Run the parts and print the table; the exit status is 1 where a part failed."""
    chosen = _arguments()
    if chosen.part:
        write_rows(chosen.part, chosen.out, chosen.full)
        return
    measured, about, failed = [], [machine(), versions()], False
    for part in PARTS:
        if chosen.only and part.name not in chosen.only:
            continue
        done = run(part, chosen.full)
        print(f"{part.name}: {done.seconds:.0f} s{' ' * bool(done.failure)}{done.failure}", flush=True)
        measured.extend(done.measured)
        about.append(f"{part.command(chosen.full)}: {done.seconds:.0f} s")
        failed = failed or bool(done.failure)
        _keep(measured, about, chosen.markdown, chosen.json)
    if not chosen.only:
        measured.extend(of_no_part())
        _keep(measured, about, chosen.markdown, chosen.json)
    show(measured)
    print("", *about, sep="\n")
    sys.exit(failed)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--full", action="store_true", help="all sizes, more runs")
    parser.add_argument("--only", nargs="+", choices=[part.name for part in PARTS], metavar="PART")
    parser.add_argument("--markdown", type=Path, help="write the table to this file as well")
    parser.add_argument("--json", type=Path, help="and every value of it to this one")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def _keep(
    measured: Sequence[Measured], about: Sequence[str], as_markdown: Path | None, as_json: Path | None
) -> None:
    if as_markdown:
        as_markdown.write_text(markdown(measured) + "\n" + "\n".join(f"- {line}" for line in about) + "\n")
    if as_json:
        rows = [plain(one) for one in measured]
        as_json.write_text(json.dumps({"about": about, "rows": rows}, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
