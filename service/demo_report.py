"""What the demo shows of its studies: how each proceeds, how well it came back, and a picture of it."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from rich.progress_bar import ProgressBar
from rich.table import Table

from dicom_nodes.decode import Grid, read_seg
from dicom_nodes.pictures import sheet
from dicom_nodes.types import Algorithm, LabelMap
from service.jobs import Job, JobState
from service.ledger import Ledger
from service.phantom.body import Phantom
from service.phantom.dicom import PhantomSeries
from service.running import submodels_to_run
from service.submodel import PHANTOM_SOURCE, load_submodels

LEAST_MEAN, LEAST_DICE = 0.88, 0.70
"""What one phantom has to reach on average, and each of its structures, to count as right.

Over several phantoms each protocol reaches 0.90 (workers/phantom_models/README.md); one alone may be harder.
"""

REPORTS = 2
"""Beside each SEG: the measurements by TID 1500, and the same as text."""
MOST_CLAIMED_ML = 1.0
"""Specks of a structure that is not there are shown; more than this of one is wrong."""


@dataclass
class Study:
    """One protocol's phantom on its way through the service."""

    protocol: str
    phantom: Phantom | None = None
    series: PhantomSeries | None = None
    sent_at: float = 0.0
    back_at: float = 0.0
    seg: Path | None = None
    reports: tuple[Path, ...] = ()
    """The measurements, for programs and as text."""
    dice: dict[str, float] = field(default_factory=dict)
    claimed_ml: dict[str, float] = field(default_factory=dict)
    """Structures that came back although the phantom does not show them."""
    faults: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """True when all that is made of it came back."""
        return self.seg is not None and len(self.reports) == REPORTS

    @property
    def right(self) -> bool:
        """True when the result came back, lies in place and agrees with the truth."""
        values = list(self.dice.values())
        sound = not self.faults and max(self.claimed_ml.values(), default=0.0) <= MOST_CLAIMED_ML
        return bool(values) and sound and min(values) >= LEAST_DICE and _mean(values) >= LEAST_MEAN


def table_of_progress(studies: list[Study], jobs: dict[str, Job], ledger: Ledger) -> Table:
    """Where each study stands now."""
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for column in ("protocol", "instances", "state", "", "reason"):
        table.add_column(column)
    for study in studies:
        table.add_row(*_row(study, jobs, ledger))
    return table


def _row(study: Study, jobs: dict[str, Job], ledger: Ledger) -> tuple[str | ProgressBar, ...]:
    if study.series is None:
        return study.protocol, "", "waits", "", ""
    job = jobs.get(study.series.series_uid)
    series = ledger.series(study.series.series_uid)
    count = f"{series.instance_count if series else 0} of {len(study.series.paths)}"
    if job is None:
        return (
            study.protocol,
            count,
            series.state.value if series else "sending",
            "",
            series.reason if series else "",
        )
    if job.state is JobState.INFERRING:
        return study.protocol, count, job.stage or "starting", ProgressBar(100, job.percent, width=24), job.reason
    if study.back_at:
        with_reports = ", with measurements" if study.complete else ""
        back = f"[green]back after {study.back_at - study.sent_at:.0f} s{with_reports}"
        return study.protocol, count, back, "", ""
    return study.protocol, count, job.state.value, "", job.reason


def table_of_structures(studies: list[Study]) -> Table:
    """How well each came back, structure by structure."""
    table = Table(title="What came back, against the truth", header_style="bold", title_justify="left")
    for column in ("protocol", "mean Dice", "structure by structure"):
        table.add_column(column, vertical="top")
    for study in studies:
        values = list(study.dice.values())
        parts = [f"[{'green' if d >= LEAST_DICE else 'red'}]{name} {d:.3f}[/]" for name, d in study.dice.items()]
        colour = "green" if study.right else "red"
        mean = f"[{colour}]{_mean(values):.3f}[/]" if values else "[red]nothing came back[/]"
        specks = [f"{name} {ml:.2f} mL" for name, ml in study.claimed_ml.items()]
        lines = [", ".join(parts)] + ([f"not there, but claimed: {', '.join(specks)}"] if specks else [])
        table.add_row(study.protocol, mean, "\n".join(study.faults) or "\n".join(lines))
    return table


def draw(study: Study, phantom: Phantom, seg: Path, path: Path) -> None:
    """The picture shows what came back from the archive, not what the worker had."""
    z, y, x = phantom.truth.shape
    found = read_seg(seg, Grid(phantom.affine, (z, y, x)))
    running = submodels_to_run(load_submodels())
    submodel = next(s for s in running if study.protocol in {protocol.name for protocol in s.protocol})
    segments = {segment.name: segment for segment in submodel.segments(study.protocol, None)}
    values = np.zeros(256, np.uint8)
    for number, name in found.names.items():
        values[number] = segments[name].value
    mean = _mean(list(study.dice.values()))
    algorithm = Algorithm(submodel.name, "of the phantoms", PHANTOM_SOURCE, phantom=True)
    label_map = LabelMap(values[found.labels], phantom.affine, tuple(segments.values()), algorithm)
    title = f"{study.protocol}: a phantom, as it came back (mean Dice {mean:.3f})"
    sheet(phantom.pixels, label_map, title).save(path)


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0
