"""What a warm worker does with a series, again and again; prints the seconds of each round.

python -m benchmarks.warm_series SERIES_FOLDER SUBMODEL PROTOCOL OUT_FOLDER RUNS
"""

import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from dicom_nodes.encode.seg import encode_seg
from dicom_nodes.headers import read_headers
from dicom_nodes.orientation import reorient
from dicom_nodes.types import LabelMap, ResultIdentity
from dicom_nodes.volumes import find_volumes
from service.submodel import SubModel, load_submodels
from workers.install.phantom import phantom_store
from workers.models import WarmModels
from workers.segmentation import segment


def series_to_seg(series: Path, submodel: SubModel, protocol: str, models: WarmModels, out: Path) -> LabelMap:
    """Headers, voxels, network, SEG."""
    (volume,) = find_volumes(read_headers(sorted(series.iterdir()))).volumes
    found = segment(volume, submodel, protocol, None, models, lambda *_: None)
    identity = ResultIdentity(submodel.name, protocol, 1, None, datetime.now(UTC), "benchmark", "benchmark")
    encode_seg(found, volume, identity).save_as(out / "seg.dcm", enforce_file_format=True)
    return found


def main(series: Path, submodel: SubModel, protocol: str, out: Path, runs: int) -> None:
    """Warm up once, then measure."""
    with TemporaryDirectory() as folder:
        _measure(
            series,
            submodel,
            protocol,
            out,
            runs,
            WarmModels(phantom_store(Path(folder)), {submodel.name: submodel}),
        )


def _measure(series: Path, submodel: SubModel, protocol: str, out: Path, runs: int, models: WarmModels) -> None:
    found = series_to_seg(series, submodel, protocol, models, out)
    np.save(out / "labels.npy", reorient(found.array, found.affine, submodel.orientation).array)
    for _ in range(runs):
        started = time.monotonic()
        series_to_seg(series, submodel, protocol, models, out)
        print(time.monotonic() - started, flush=True)


if __name__ == "__main__":
    wanted = next(submodel for submodel in load_submodels() if submodel.name == sys.argv[2])
    main(Path(sys.argv[1]), wanted, sys.argv[3], Path(sys.argv[4]), int(sys.argv[5]))
