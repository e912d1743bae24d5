"""The folder of a job in; what the pages show of its result out: what was measured of each structure, its sheet."""

from dataclasses import asdict, dataclass
from typing import Any

from dicom_nodes.pictures.colours import colours_of
from dicom_nodes.types import Measurement, Segment
from service.jobfolder import JobFolder


@dataclass(frozen=True, slots=True)
class Line:
    """One structure with what was measured of it."""

    segment: Segment
    measured: Measurement
    colour: str
    """As on the sheet, in the notation of the web."""

    @property
    def name(self) -> str:
        """As a person writes it."""
        return self.segment.name.replace("_", " ")

    @property
    def volume(self) -> str:
        """In mL: one digit after the point, small ones with three that count."""
        return _short(self.measured.volume_ml)

    @property
    def mean(self) -> str:
        """Of the pixel values; a dash where they are not finite."""
        return _short(self.measured.mean)

    @property
    def sd(self) -> str:
        """Their standard deviation, as `mean`."""
        return _short(self.measured.sd)

    @property
    def slices(self) -> str:
        """The first and the last slice, counted from 1."""
        first, last = self.measured.first_slice + 1, self.measured.last_slice + 1
        return str(first) if first == last else f"{first} to {last}"

    @property
    def edges(self) -> str:
        """Where it reaches the end of what was imaged."""
        return ", ".join(self.measured.edges)


@dataclass(frozen=True, slots=True)
class Result:
    """What a job has found, as far as its folder holds it."""

    lines: tuple[Line, ...]
    """By label value, which is the order of the model and of every viewer; empty where nothing was measured yet."""
    absent: tuple[str, ...]
    """Looked for and not found."""
    sheet: bool
    """Whether there is a picture of it."""


def result_of(folder: JobFolder) -> Result:
    """What lies in the folder of a job; nothing where it has found nothing yet, or is gone."""
    segments, measurements = folder.load_segments(), folder.load_measurements()
    if segments is None or measurements is None:
        return Result((), (), folder.has_sheet())
    measured = {each.value: each for each in measurements}
    found = [segment for segment in segments if segment.value in measured]
    colours = {value: "#{:02x}{:02x}{:02x}".format(*rgb) for value, rgb in colours_of(found).items()}
    lines = (Line(segment, measured[segment.value], colours[segment.value]) for segment in found)
    absent = tuple(s.name.replace("_", " ") for s in segments if s.value not in measured)
    return Result(tuple(sorted(lines, key=lambda line: line.segment.value)), absent, folder.has_sheet())


def _short(number: float | None) -> str:
    if number is None:
        return "–"
    return f"{number:.1f}" if abs(number) >= 10 else f"{number:.3g}"


def measurements_record(result: Result) -> list[dict[str, Any]]:
    """The measurements as JSON shows them: under the names of the structures, slices counted from 0."""
    return [{"name": line.segment.name, "rgb": line.segment.rgb, **asdict(line.measured)} for line in result.lines]
