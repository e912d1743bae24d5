"""What benchmarks measured in; one table of it out: for a terminal, as markdown, and as plain values for JSON.

A benchmark gives one `Row` for each comparison that it made, or a `Missing` that says why it could make none. Rows
of one number belong together: the same work at another size, or against another peer.
"""

import statistics
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum

from rich.console import Console
from rich.table import Table


class Compare(StrEnum):
    """How our median is held against theirs, and which way is better."""

    RATE = "rate"
    """Work per second: ours / theirs, at least the goal."""
    TIME = "time"
    """Seconds: theirs / ours, at least the goal."""
    SHARE = "share"
    """What is to be small: ours / theirs, at most the goal."""
    ALONE = "alone"
    """Held against nothing: our median itself, at most the goal."""


@dataclass(frozen=True, slots=True)
class Row:
    """One comparison: what every run of ours and of the other took, in turns on one machine."""

    number: int
    """Of the row in the table of goals."""
    work: str
    """What was done, with its size."""
    unit: str
    """Of the values, as "s", "instances/s" or "MiB"."""
    ours: tuple[float, ...]
    """One value for each run."""
    against: str = ""
    """What the other is; empty for `Compare.ALONE`."""
    theirs: tuple[float, ...] = ()
    """One value for each run, which need not be as many; empty for `Compare.ALONE`."""
    compare: Compare = Compare.TIME
    goal: float | None = None
    """None: told for information, and neither met nor missed."""
    limit: str = ""
    """What limits it, as profiling has shown, or what else is to be known; one sentence."""

    @property
    def ratio(self) -> float:
        """Our median against theirs, as `compare` says."""
        ours = statistics.median(self.ours)
        if self.compare is Compare.ALONE:
            return ours
        theirs = statistics.median(self.theirs)
        return theirs / ours if self.compare is Compare.TIME else ours / theirs

    @property
    def met(self) -> bool | None:
        """Whether the goal is reached; None where there is none."""
        if self.goal is None:
            return None
        more_is_better = self.compare in (Compare.RATE, Compare.TIME)
        return self.ratio >= self.goal if more_is_better else self.ratio <= self.goal


@dataclass(frozen=True, slots=True)
class Missing:
    """A row that could not be had."""

    number: int
    work: str
    why: str


Measured = Row | Missing
WIDTH = 190
"""Of the printed table where no terminal says its own."""
HEADINGS = (
    "#", "work", "unit", "ours: min / median / max", "against", "theirs: min / median / max", "ratio", "goal",
    "met",
)  # fmt: skip


def lines(measured: Iterable[Measured]) -> list[tuple[str, ...]]:
    """One line of cells for each, as `HEADINGS` names them, in the order of their numbers."""
    return [_cells(one) for one in in_order(measured)]


def in_order(measured: Iterable[Measured]) -> list[Measured]:
    """Sorted by number; what has the same number stays as it was given."""
    return sorted(measured, key=lambda one: one.number)


def terminal(measured: Iterable[Measured]) -> Table:
    """The table for rich."""
    table = Table(*HEADINGS)
    for cells in lines(measured):
        table.add_row(*cells)
    return table


def show(measured: Sequence[Measured]) -> None:
    """Print the table, and what is to be known of its rows."""
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    console.print(terminal(measured))
    for remark in notes(measured):
        console.print(remark, highlight=False, markup=False)


def markdown(measured: Sequence[Measured]) -> str:
    """The table as markdown; below it, by number, what limits a row or is to be known of it."""
    rows = [HEADINGS, ("---",) * len(HEADINGS), *lines(measured)]
    table = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |" for cells in rows)
    remarks = notes(measured)
    return table + ("\n\n" + "\n".join(f"- {remark}" for remark in remarks) if remarks else "") + "\n"


def notes(measured: Iterable[Measured]) -> list[str]:
    """What limits a row or is to be known of it, with its number; each sentence once."""
    found = (f"{one.number}: {one.limit}" for one in in_order(measured) if isinstance(one, Row) and one.limit)
    return list(dict.fromkeys(found))


def plain(one: Measured) -> dict[str, object]:
    """As JSON holds it, with what follows from the values."""
    if isinstance(one, Missing):
        return asdict(one)
    return {**asdict(one), "ratio": one.ratio, "met": one.met}


def read(values: dict[str, object]) -> Measured:
    """What `plain` gave, read again from JSON."""
    given = {key: value for key, value in values.items() if key not in ("ratio", "met")}
    if "why" in given:
        return Missing(**given)  # type: ignore[arg-type]  # written by `plain`
    for key in ("ours", "theirs"):
        given[key] = tuple(given[key])  # type: ignore[arg-type]
    return Row(**{**given, "compare": Compare(str(given["compare"]))})  # type: ignore[arg-type]


def three(values: Sequence[float]) -> str:
    """Minimum, median and maximum; empty for none."""
    if not values:
        return ""
    return " / ".join(_short(each) for each in (min(values), statistics.median(values), max(values)))


def _cells(one: Measured) -> tuple[str, ...]:
    if isinstance(one, Missing):
        return (str(one.number), one.work, "", f"not measured: {one.why}", "", "", "", "", "")
    ratio = "" if one.compare is Compare.ALONE else f"{_short(one.ratio)}×"
    return (str(one.number), one.work, one.unit, three(one.ours), one.against, three(one.theirs), ratio, _goal(one),
            {None: "", True: "yes", False: "NO"}[one.met])  # fmt: skip


def _goal(row: Row) -> str:
    if row.goal is None:
        return ""
    sign = "≥" if row.compare in (Compare.RATE, Compare.TIME) else "≤"
    return f"{sign} {row.goal:g}" + (f" {row.unit}" if row.compare is Compare.ALONE else "×")


def _short(value: float) -> str:
    """Three digits that mean something, and never an exponent."""
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2 if abs(value) >= 0.1 else 4
    return f"{value:.{digits}f}"
