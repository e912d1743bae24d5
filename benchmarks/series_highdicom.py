"""The label map that nnU-Net's command found, as a SEG by highdicom, for each line of its input; prints seconds.

python -m benchmarks.series_highdicom FOLDER
"""

import sys
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from benchmarks.seg import write_highdicom
from dicom_nodes.headers import read_headers
from dicom_nodes.orientation import reorient
from dicom_nodes.reader import read_voxels
from dicom_nodes.volumes import find_volumes


def main(folder: Path) -> None:
    """Read the NIfTI, turn it back to the slices of the series, and encode it (`benchmarks.processes.warm`)."""
    print("ready", flush=True)
    for _ in sys.stdin:
        print(_encode(folder), flush=True)


def _encode(folder: Path) -> float:
    (volume,) = find_volumes(read_headers(sorted((folder / "series").iterdir()))).volumes
    voxels = read_voxels(volume)
    found = sitk.GetArrayFromImage(sitk.ReadImage(folder / "out" / "case.nii.gz")).astype(np.uint8)
    labels = reorient(voxels.array, voxels.affine, "LAS").undo(found)
    return write_highdicom(folder, labels, folder / "highdicom.dcm", "BINARY")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
