"""A label map to a DICOM-SEG on disk, BINARY and LABELMAP: ours against highdicom and dcmqi's `itkimage2segimage`.

    python -m benchmarks.seg [--segments 44] [--slices 80] [--side 256] [--runs 5]

Each writes the same labels over the same MR series, in turns, ours and highdicom's in a process that has written
them once before: as a BINARY SEG, and these two as a LABELMAP one as well. Ours begins with the files of the series
and ends with the SEG decoded again, found equal, and written; highdicom's time is that of its constructor and of
`save_as` alone, with the headers read before; dcmqi's is that of its command. Every file is then decoded by ours
and by highdicom and compared with the label map that went in. Peak memory is the largest resident set of the whole
process, of dcmqi's a sampled one; idle is what it has with its libraries loaded and nothing written.
"""

import argparse
import json
import resource
import statistics
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import highdicom as hd
import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
from pydicom import dcmread, dcmwrite
from pydicom.sr.codedict import codes
from rich.console import Console
from rich.table import Table

from benchmarks.processes import Warm, measure, warm
from benchmarks.seg_input import SPACING_MM, draw, segments, write_series
from benchmarks.table import Compare, Measured, Missing, Row
from dicom_nodes.decode import Grid, read_seg
from dicom_nodes.encode.labelmap import encode_labelmap
from dicom_nodes.encode.seg import encode_seg
from dicom_nodes.headers import read_headers
from dicom_nodes.types import Algorithm, Code, LabelMap, ResultIdentity, Segment, Volume
from dicom_nodes.volumes import find_volumes

DCMQI = Path(sysconfig.get_path("scripts")) / "itkimage2segimage"
ENCODE = {"BINARY": encode_seg, "LABELMAP": encode_labelmap}

ALL_SIZES = (((80, 256, 256), 44), ((80, 256, 256), 10), ((80, 512, 512), 44), ((300, 256, 256), 104))
"""Shape (z, y, x) and segments; the first is the one of the short run."""

_COMMAND = (sys.executable, "-m", "benchmarks.seg")

Writing = Callable[[], tuple[float, float]]
"""Write the SEG; gives the seconds and the peak memory of the process in MiB."""


@dataclass(frozen=True)
class Written:
    """What one way of writing took."""

    name: str
    seconds: list[float]
    peak_mib: float
    idle_mib: float | None
    """Of the same process without writing; None where it is not known."""
    path: Path


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--segments", type=int, default=44)
    parser.add_argument("--slices", type=int, default=80)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--write", choices=sorted(WRITERS), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.write:
        _write(chosen.write, chosen.folder)
        return
    with tempfile.TemporaryDirectory(prefix="seg-") as name:
        folder, shape = Path(name), (chosen.slices, chosen.side, chosen.side)
        written, labels = compare(folder, shape, chosen.segments, chosen.runs, all_ways=True)
        frames = int(dcmread(written[0].path, stop_before_pixels=True).NumberOfFrames)
        title = f"{chosen.segments} segments, {chosen.side} x {chosen.side} x {chosen.slices}, {frames} frames; "
        Console(width=120).print(
            _table(f"{title}seconds: min / median / max of {chosen.runs}", written, folder, labels)
        )


def rows(full: bool) -> list[Measured]:
    """Row 8; all sizes where `full`, and LABELMAP beside it."""
    found: list[Measured] = []
    for shape, count in ALL_SIZES if full else ALL_SIZES[:1]:
        with tempfile.TemporaryDirectory(prefix="seg-") as name:
            found += _rows(*compare(Path(name), shape, count, 5, all_ways=full), Path(name))
    return found


def _rows(written: list[Written], labels: npt.NDArray[np.uint8], folder: Path) -> list[Measured]:
    """Ours against each of the others of its kind; RuntimeError where one of them says something else."""
    by_name = {one.name: one for one in written}
    for one in written:
        if not is_equal(one.path, _volume(folder / "series"), labels):
            raise RuntimeError(f"{one.name} wrote another label map")
    z, y, x = labels.shape
    size = f"{int(labels.max())} segments, {x} × {y} × {z}"
    found: list[Measured] = []
    for name, peer, goal in (("sagittal", "highdicom", 5.0), ("sagittal", "dcmqi", 2.0),
                             ("sagittal-labelmap", "highdicom-labelmap", None)):  # fmt: skip
        if name not in by_name:
            continue
        kind = "LABELMAP" if "labelmap" in name else "BINARY"
        if peer not in by_name:
            found.append(Missing(8, f"SEG {kind}, {size}", f"no {peer} beside Python"))
            continue
        ours, theirs = tuple(by_name[name].seconds), tuple(by_name[peer].seconds)
        work = f"SEG {kind}, {size}, from the series to a proven file"
        found.append(Row(8, work, "s", ours, peer.partition("-")[0], theirs, Compare.TIME, goal))
    return found


def write_ours(folder: Path, labels: npt.NDArray[np.uint8], path: Path, kind: str) -> float:
    """From the series on disk to a proven SEG on disk; gives the seconds."""
    volume = _volume(folder / "series")
    algorithm = Algorithm("benchmark", "1", "benchmark", phantom=True)
    label_map = LabelMap(labels, volume.affine, segments(int(labels.max())), algorithm)
    made_at = datetime(2026, 1, 1)  # noqa: DTZ001  # a site's time, as DICOM has it
    identity = ResultIdentity("benchmark", "abdomen", 1, None, made_at, "1", "1")
    began = time.perf_counter()
    dcmwrite(path, ENCODE[kind](label_map, volume, identity))
    return time.perf_counter() - began


def write_highdicom(folder: Path, labels: npt.NDArray[np.uint8], path: Path, kind: str) -> float:
    """From headers in memory to a SEG on disk; gives the seconds."""
    volume = _volume(folder / "series")
    images = [dcmread(frame.path) for frame in volume.frames]
    descriptions = [_describe(segment) for segment in segments(int(labels.max()))]
    began = time.perf_counter()
    seg = hd.seg.Segmentation(
        source_images=images,
        pixel_array=labels,
        segmentation_type=kind,
        segment_descriptions=descriptions,
        series_instance_uid=hd.UID(),
        series_number=900,
        sop_instance_uid=hd.UID(),
        instance_number=1,
        manufacturer="highdicom",
        manufacturer_model_name="benchmark",
        software_versions="1",
        device_serial_number="1",
        omit_empty_frames=True,
    )
    seg.save_as(path)
    return time.perf_counter() - began


WRITERS: dict[str, tuple[Callable[[Path, npt.NDArray[np.uint8], Path, str], float], str]] = {
    "highdicom": (write_highdicom, "BINARY"),
    "sagittal": (write_ours, "BINARY"),
    "highdicom-labelmap": (write_highdicom, "LABELMAP"),
    "sagittal-labelmap": (write_ours, "LABELMAP"),
}


def _write(name: str, folder: Path) -> None:
    """Once for each line of the input: the seconds, and the peak memory until then in MiB; the latter at first."""
    labels = np.load(folder / "labels.npy")
    write, kind = WRITERS[name]
    print(_resident_mib(), flush=True)
    for _ in sys.stdin:
        seconds = write(folder, labels, folder / f"{name}.dcm", kind)
        print(json.dumps([seconds, _resident_mib()]), flush=True)


def _resident_mib() -> float:
    """The largest resident set that this process had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def compare(
    folder: Path, shape: tuple[int, int, int], count: int, runs: int, all_ways: bool
) -> tuple[list[Written], npt.NDArray[np.uint8]]:
    """Write the same labels (z, y, x), as LABELMAP only where `all_ways`; what each way took, and the labels."""
    labels = draw(shape, count)
    write_series(folder / "series", shape)
    np.save(folder / "labels.npy", labels)
    idle: dict[str, float] = {}
    with ExitStack() as processes:
        writers: dict[str, Writing] = {}
        for name in [name for name, (_, kind) in WRITERS.items() if all_ways or kind == "BINARY"]:
            process = processes.enter_context(warm([*_COMMAND, "--folder", str(folder), "--write", name]))
            idle[name] = float(process.ready)
            writers[name] = _by_python(process)
        if DCMQI.exists():
            writers["dcmqi"] = _by_dcmqi(folder, labels)
        else:
            print(f"dcmqi is left out: there is no {DCMQI.name} beside Python (PyPI package dcmqi)")
        taken = [[write() for write in writers.values()] for _ in range(runs)]
    written = []
    for name, several in zip(writers, zip(*taken, strict=True), strict=True):
        seconds, peak = [s for s, _ in several], max(mib for _, mib in several)
        written.append(Written(name, seconds, peak, idle.get(name), folder / f"{name}.dcm"))
    return written, labels


def _by_python(process: Warm) -> Writing:
    """By a process of ours or highdicom's, after it has written once."""
    process.ask()

    def write() -> tuple[float, float]:
        seconds, mib = json.loads(process.ask())
        return seconds, mib

    return write


def _by_dcmqi(folder: Path, labels: npt.NDArray[np.uint8]) -> Writing:
    image, meta, path = folder / "labels.nrrd", folder / "meta.json", folder / "dcmqi.dcm"
    itk = sitk.GetImageFromArray(labels)
    itk.SetSpacing(SPACING_MM[::-1])
    sitk.WriteImage(itk, image)
    meta.write_text(json.dumps(_dcmqi_meta(int(labels.max()))), encoding="ascii")
    command = [str(DCMQI), "--inputImageList", str(image), "--inputMetadata", str(meta)]
    command += ["--inputDICOMDirectory", str(folder / "series"), "--outputDICOM", str(path), "--skip", "1"]

    def write() -> tuple[float, float]:
        _, seconds, peak = measure(command)
        return seconds, peak

    return write


def _dcmqi_meta(count: int) -> dict[str, object]:
    attributes = [
        {
            "labelID": segment.value,
            "SegmentLabel": segment.name,
            "SegmentDescription": segment.name,
            "SegmentAlgorithmType": "AUTOMATIC",
            "SegmentAlgorithmName": "benchmark",
            "SegmentedPropertyCategoryCodeSequence": _coded(segment.category),
            "SegmentedPropertyTypeCodeSequence": _coded(segment.type),
            "recommendedDisplayRGBValue": list(segment.rgb),
        }
        for segment in segments(count)
    ]
    series = {"SeriesDescription": "benchmark", "SeriesNumber": "900", "InstanceNumber": "1"}
    names = {"ContentCreatorName": "benchmark", "BodyPartExamined": "ABDOMEN"}
    return {**names, **series, "ClinicalTrialSeriesID": "1", "ClinicalTrialTimePointID": "1",
            "segmentAttributes": [attributes]}  # fmt: skip


def _coded(code: Code) -> dict[str, str]:
    return {"CodeValue": code.value, "CodingSchemeDesignator": code.scheme, "CodeMeaning": code.meaning}


def _table(title: str, written: list[Written], folder: Path, labels: npt.NDArray[np.uint8]) -> Table:
    table = Table(title=title)
    for column in ("", "seconds", "ratio", "peak memory", "idle", "size", "voxels"):
        table.add_column(column, justify="left" if not column else "right")
    slowest = statistics.median(written[0].seconds)
    for one in written:
        ratio = slowest / statistics.median(one.seconds)
        idle = "" if one.idle_mib is None else f"{one.idle_mib:.0f} MiB"
        size = f"{one.path.stat().st_size / 2**20:.2f} MiB"
        equal = "equal" if is_equal(one.path, _volume(folder / "series"), labels) else "DIFFERENT"
        table.add_row(one.name, _three(one.seconds), f"{ratio:.1f}", f"{one.peak_mib:.0f} MiB", idle, size, equal)
    return table


def is_equal(path: Path, volume: Volume, labels: npt.NDArray[np.uint8]) -> bool:
    """Whether ours reads each voxel where it was, and highdicom as many of each segment."""
    by_place = read_seg(path, Grid(volume.affine, volume.shape)).labels
    by_highdicom = hd.seg.segread(path).get_volume(combine_segments=True).array
    given, read = (np.bincount(array.ravel(), minlength=256)[1:] for array in (labels, by_highdicom))
    return np.array_equal(by_place, labels) and np.array_equal(given, read)


def _three(seconds: list[float]) -> str:
    return f"{min(seconds):.2f} / {statistics.median(seconds):.2f} / {max(seconds):.2f}"


def _describe(segment: Segment) -> hd.seg.SegmentDescription:
    return hd.seg.SegmentDescription(
        segment_number=segment.value,
        segment_label=segment.name,
        segmented_property_category=codes.SCT.AnatomicalStructure,
        segmented_property_type=codes.SCT.Kidney,
        algorithm_type="AUTOMATIC",
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            name="benchmark", family=codes.DCM.ArtificialIntelligence, version="1"
        ),
        display_color=hd.color.CIELabColor.from_rgb(*segment.rgb),
    )


def _volume(series: Path) -> Volume:
    (volume,) = find_volumes(read_headers(sorted(series.iterdir()))).volumes
    return volume


if __name__ == "__main__":
    main()
