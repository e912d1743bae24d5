"""python -m tests.faults --seeds 20 --series 200: many runs, and the table of docs/faults.md."""

import argparse
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from tests.faults.run import LEDGERS, Run, install, run

COLUMNS = (
    "seed", "faults", "series", "acknowledged", "requests", "results", "reasons", "resent", "lost", "doubled",
    "half", "seconds",
)  # fmt: skip
HEAD = f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}"


def row(one: Run) -> str:
    """A run as a line of the table."""
    found = one.verdict
    cells = (
        one.seed, len(one.faults), one.series, one.told.instances, one.told.requests, found.results,
        f"{len(found.reasons)} ({len(one.told.gone)})", found.resent, len(found.lost), len(found.doubled),
        len(found.half), round(one.seconds),
    )  # fmt: skip
    return "| " + " | ".join(map(str, cells)) + " |"


def main() -> int:
    """Run the seeds one after the other; 1 if any run lost, doubled or halved something."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--seeds", type=int, default=20, help="how many")
    parser.add_argument("--first", type=int, default=1, help="the first seed")
    parser.add_argument("--series", type=int, default=200)
    parser.add_argument(
        "--seconds", type=float, default=120.0, help="over which the load and the faults are spread"
    )
    parser.add_argument("--ledger", choices=LEDGERS, default=LEDGERS[0])
    parser.add_argument("--keep", type=Path, help="folder in which everything of the runs is kept")
    told = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that nothing is left running
    folder = told.keep or Path(tempfile.mkdtemp(prefix="sagittal-faults-"))
    folder.mkdir(parents=True, exist_ok=True)
    weights, bad = install(folder / "weights"), 0
    print(HEAD)
    for seed in range(told.first, told.first + told.seeds):
        one = run(folder / str(seed), weights, seed, told.series, told.seconds, ledger=told.ledger)
        print(row(one), flush=True)
        bad += not one.verdict.clean or bool(one.unsettled)
        _say(one)
        if not told.keep:
            shutil.rmtree(folder / str(seed))
    return 1 if bad else 0


def _say(one: Run) -> None:
    """What a table does not show, for whoever looks into a run."""
    found, excused = one.verdict, one.told.gone | one.told.unreleased
    details = [*found.lost, *found.doubled, *found.half, *one.unsettled]
    details += [f"reason: {uid}: {why}" for uid, why in found.reasons.items() if uid not in excused]
    for line in (*map(str, one.faults), *details, *(f"left out: {k}: {w}" for k, w in one.left_out.items())):
        print(f"    {line}", file=sys.stderr)
    if not one.web_answers:
        print("    the status page does not answer", file=sys.stderr)


if __name__ == "__main__":
    raise SystemExit(main())
