"""What a warm worker does with a series, once for each line of its input; prints the seconds of each part as JSON.

python -m benchmarks.warm_series FOLDER NETWORK CLASSES
"""

import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from benchmarks.series_network import PROTOCOL, Setup, submodel, where
from dicom_nodes.encode.seg import encode_seg
from dicom_nodes.headers import read_headers
from dicom_nodes.orientation import reorient
from dicom_nodes.types import LabelMap, ResultIdentity
from dicom_nodes.volumes import find_volumes
from service.modelstore import ModelStore
from service.submodel import SubModel
from workers.models import WarmModels
from workers.segmentation import segment

ENDS = {"read": "preprocess", "preprocess": "network", "network": "resample", "resample": "encode"}


class Clock:
    """When each stage was first heard of."""

    def __init__(self) -> None:
        self.at: dict[str, float] = {"read": time.monotonic()}

    def __call__(self, stage: str, _per_cent: float = 0) -> None:
        """As `workers.progress.Report`."""
        self.at.setdefault(stage, time.monotonic())

    def seconds(self) -> dict[str, float]:
        """Of every stage until the next begins, and of the whole."""
        found = {stage: self.at[end] - self.at[stage] for stage, end in (ENDS | {"encode": "done"}).items()}
        return {**found, "whole": self.at["done"] - self.at["read"]}


def series_to_seg(setup: Setup, run: SubModel, models: WarmModels, out: Path, clock: Clock) -> LabelMap:
    """Headers, voxels, network, SEG."""
    (volume,) = find_volumes(read_headers(sorted(setup.series.iterdir()))).volumes
    found = segment(volume, run, PROTOCOL, None, models, clock)
    clock("encode")
    identity = ResultIdentity(run.name, PROTOCOL, 1, None, datetime.now(UTC), "benchmark", "benchmark")
    encode_seg(found, volume, identity).save_as(out / "seg.dcm", enforce_file_format=True)
    clock("done")
    return found


def main(folder: Path, network: str, classes: int) -> None:
    """Warm up once, then measure (`benchmarks.processes.warm`)."""
    setup, run = where(folder), submodel(network, classes)
    models = WarmModels(ModelStore(setup.store), {run.name: run})
    found = series_to_seg(setup, run, models, folder, Clock())
    np.save(folder / "labels.npy", reorient(found.array, found.affine, run.orientation).array)
    print("ready", flush=True)
    for _ in sys.stdin:
        clock = Clock()
        series_to_seg(setup, run, models, folder, clock)
        print(json.dumps(clock.seconds()), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
