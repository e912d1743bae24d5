"""The files of one job: its volume, the label map found in it, what was measured, the picture and the objects made.

Everything is written under a temporary name, flushed and renamed, so that a step that died leaves either nothing or
the whole. Nothing here is a pickle: JSON, and arrays by numpy without objects.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import Dataset

from dicom_nodes.types import Algorithm, Code, Edge, FrameRef, LabelMap, Measurement, Segment, Volume
from service.evidence import plain_volume, volume_of


class JobFolder:
    """`jobs/<id>/` of one site."""

    def __init__(self, jobs: Path, job_id: str) -> None:
        self.path = jobs / job_id

    def save_volume(self, volume: Volume) -> None:
        """Fix which frames the job works on, whatever comes to the series later."""
        frames = [{**asdict(frame), "path": str(frame.path)} for frame in volume.frames]
        values = {**plain_volume(volume), "frames": frames}
        self._write("volume.json", json.dumps(values).encode())

    def load_volume(self) -> Volume:
        """The volume that `save_volume` fixed."""
        values = json.loads((self.path / "volume.json").read_text())
        frames = tuple(
            FrameRef(**{**_known(FrameRef, frame), "path": Path(frame["path"])}) for frame in values["frames"]
        )
        return replace(volume_of(values), frames=frames)

    def save_label_map(self, label_map: LabelMap) -> None:
        """Keep what the sub-model found."""
        meaning = {
            "segments": [asdict(segment) for segment in label_map.segments],
            "algorithm": asdict(label_map.algorithm),
        }
        with _Replacing(self.path / "labelmap.npz") as file:
            text = np.frombuffer(json.dumps(meaning).encode(), np.uint8)
            np.savez_compressed(file, array=label_map.array, affine=label_map.affine, meaning=text)

    def load_label_map(self) -> LabelMap:
        """What `save_label_map` kept."""
        with np.load(self.path / "labelmap.npz", allow_pickle=False) as stored:
            meaning = json.loads(stored["meaning"].tobytes())
            segments = tuple(_segment(values) for values in meaning["segments"])
            return LabelMap(
                stored["array"], stored["affine"], segments, Algorithm(**_known(Algorithm, meaning["algorithm"]))
            )

    def load_segments(self) -> tuple[Segment, ...] | None:
        """The segments of what `save_label_map` kept, without its array; None where nothing was kept yet."""
        try:
            with np.load(self.path / "labelmap.npz", allow_pickle=False) as stored:
                return tuple(_segment(values) for values in json.loads(stored["meaning"].tobytes())["segments"])
        except FileNotFoundError:
            return None

    def save_measurements(self, measurements: tuple[Measurement, ...]) -> None:
        """Keep what was measured of the segments."""
        self._write("measurements.json", json.dumps([asdict(each) for each in measurements]).encode())

    def load_measurements(self) -> tuple[Measurement, ...] | None:
        """What `save_measurements` kept; None where nothing was measured yet."""
        try:
            values = json.loads((self.path / "measurements.json").read_text())
        except FileNotFoundError:
            return None
        return tuple(_measurement(each) for each in values)

    def save_sheet(self, png: bytes) -> None:
        """Keep the picture of the result."""
        self._write("sheet.png", png)

    def load_sheet(self) -> bytes | None:
        """The PNG that `save_sheet` kept; None where none was drawn."""
        try:
            return (self.path / "sheet.png").read_bytes()
        except FileNotFoundError:
            return None

    def remove_sheet(self) -> None:
        """Leave no picture of an earlier result."""
        (self.path / "sheet.png").unlink(missing_ok=True)

    def has_sheet(self) -> bool:
        """Whether `save_sheet` kept one."""
        return (self.path / "sheet.png").is_file()

    def save_object(self, kind: str, dataset: Dataset) -> Path:
        """Keep one produced object as a DICOM file; gives its path."""
        path = self.path / f"{kind}.dcm"
        with _Replacing(path) as file:
            dataset.save_as(file, enforce_file_format=True)
        return path

    def _write(self, name: str, content: bytes) -> None:
        with _Replacing(self.path / name) as file:
            file.write(content)


def _known(kind: type[Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """The values that this version knows; those that a newer one added are passed over (docs/decisions/0008)."""
    names = {field.name for field in fields(kind)}
    return {name: value for name, value in values.items() if name in names}


def _frame(values: Mapping[str, Any]) -> FrameRef:
    return FrameRef(**{**_known(FrameRef, values), "path": Path(values["path"])})


def _measurement(values: Mapping[str, Any]) -> Measurement:
    return Measurement(**{**_known(Measurement, values), "edges": tuple(map(Edge, values["edges"]))})


def _code(values: Mapping[str, Any]) -> Code:
    return Code(**_known(Code, values))


def _segment(values: dict[str, Any]) -> Segment:
    side = values["laterality"]
    return Segment(
        values["value"],
        values["name"],
        _code(values["category"]),
        _code(values["type"]),
        None if side is None else _code(side),
        (values["rgb"][0], values["rgb"][1], values["rgb"][2]),
    )


class _Replacing:
    """A file that appears whole under its name when the block ends well, and not at all when it does not."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._part = path.with_name(f".{path.name}.{os.getpid()}.part")

    def __enter__(self) -> Any:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._part.open("wb")
        return self._file

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._file:
            if kind is None:
                self._file.flush()
                os.fsync(self._file.fileno())
        if kind is None:
            self._part.replace(self._path)
            _sync_folder(self._path.parent)
        else:
            self._part.unlink()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
