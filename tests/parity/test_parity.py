"""Each program of the literature and ours, on the same weights and the same series: the same label maps.

`make parity` sets up the programs' environments and runs this; it takes about half an hour on two cores.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import SimpleITK as sitk

import workers.segmentation
from dicom_nodes.reader import read_voxels
from dicom_nodes.types import Volume
from service.submodel import SubModel
from tests.parity import inputs, peers
from tests.parity.conftest import Table
from tests.parity.inputs import dice
from tests.parity.published import TOTAL, Published
from workers.grid import Image, Millimetres, resampled
from workers.models import WarmModels
from workers.progress import Progress
from workers.segmentation import find, segment

pytestmark = [
    pytest.mark.parity,
    # nnU-Net searches its packages through a deprecated loader interface.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

SAME = 0.999
LabelMap = npt.NDArray[np.uint8]
Peer = Callable[[Volume, Published, Path], inputs.Labels]


def _nnunet(volume: Volume, published: Published, work: Path) -> inputs.Labels:
    image = inputs.write_nifti(volume, work / "image.nii.gz", axes="LAS")  # as MRAnnotator's authors ask for
    return peers.nnunet(image, published.mrannotator, 1, "nnUNetTrainerNoMirroring", work)


def _mrsegmentator(*options: str) -> Peer:
    def run(volume: Volume, published: Published, work: Path) -> inputs.Labels:
        image = inputs.write_nifti(volume, work / "image.nii.gz")
        return peers.mrsegmentator(image, published.mrsegmentator, work, *options)

    return run


def _totalsegmentator(task: str, *options: str) -> Peer:
    def run(volume: Volume, published: Published, work: Path) -> inputs.Labels:
        image = inputs.write_nifti(volume, work / "image.nii.gz")
        return peers.totalsegmentator(image, published.totalsegmentator, work, task, *options)

    return run


PROGRAMS: dict[str, tuple[str, Peer]] = {
    "nnUNetv2_predict": ("mrannotator-abdomen", _nnunet),
    "mrsegmentator": ("mrsegmentator", _mrsegmentator()),
    "mrsegmentator --fast": ("mrsegmentator-fast", _mrsegmentator("--fast")),
    "mrsegmentator --split_level 1": ("mrsegmentator-split", _mrsegmentator("--split_level", "1")),
    "TotalSegmentator -ta total_mr": (TOTAL, _totalsegmentator("total_mr")),
    "TotalSegmentator -ta total_mr --fast": (f"{TOTAL}-fast", _totalsegmentator("total_mr", "--fast")),
    "TotalSegmentator -ta liver_segments_mr": (
        "totalsegmentator-liver-segments-mr",
        _totalsegmentator("liver_segments_mr"),
    ),
}
"""What is called, and the sub-model of ours that is the same."""


@pytest.mark.parametrize("plane", inputs.PLANES)
@pytest.mark.parametrize("program", PROGRAMS)
def test_our_label_map_is_that_of_the_authors_program(
    program: str,
    plane: str,
    published: Published,
    models: WarmModels,
    submodels: dict[str, SubModel],
    table: Table,
    tmp_path: Path,
) -> None:
    name, peer = PROGRAMS[program]
    volume = inputs.write_series(plane, tmp_path / "series")
    theirs = inputs.moved(peer(volume, published, tmp_path), volume.shape, volume.affine)
    ours = segment(volume, submodels[name], "abdomen", None, models, _unheard).array
    found = dice(ours, theirs)
    lowest = min(found, key=lambda label: found[label])
    table.rows.append(
        f"| {program} | {plane} | {len(found)} of {len(submodels[name].label)} | {found[lowest]:.5f} "
        f"| {int((ours != theirs).sum())} of {int((theirs > 0).sum())} |"
    )
    assert found[lowest] >= SAME, f"label {lowest} of {program}, {plane}: {found[lowest]:.5f}"
    assert len(found) >= 0.7 * len(submodels[name].label), "too few labels appear to say that the tables agree"


def test_but_for_the_cut_to_whole_numbers_every_voxel_is_that_of_totalsegmentator(
    published: Published,
    models: WarmModels,
    submodels: dict[str, SubModel],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """At ordinary intensities; their fault is put into ours, since it cannot be taken out of theirs."""

    def cut(array: Image, spacing_mm: Millimetres, wanted_mm: Millimetres) -> Image:
        return np.trunc(resampled(array.astype(np.float64), spacing_mm, wanted_mm)).astype(np.float32)

    volume = inputs.write_series("axial", tmp_path / "series", slope=1)
    peer = PROGRAMS["TotalSegmentator -ta total_mr --fast"][1]
    theirs = inputs.moved(peer(volume, published, tmp_path), volume.shape, volume.affine)
    monkeypatch.setattr(workers.segmentation, "resampled", cut)
    ours = segment(volume, submodels[f"{TOTAL}-fast"], "abdomen", None, models, _unheard).array
    assert np.array_equal(ours, theirs)


def test_an_image_of_values_from_0_to_1_is_segmented_by_ours_and_not_by_totalsegmentator(
    published: Published, models: WarmModels, submodels: dict[str, SubModel], tmp_path: Path
) -> None:
    """TotalSegmentator cuts resampled values to whole numbers: of such an image nothing is left."""
    volume = inputs.write_series("axial", tmp_path / "series", slope=1)
    voxels = read_voxels(volume)
    scale = 1 / float(voxels.array.max())
    submodel = submodels[f"{TOTAL}-fast"]
    image = inputs.write_nifti(volume, tmp_path / "image.nii.gz", scale=scale)
    theirs = peers.totalsegmentator(image, published.totalsegmentator, tmp_path, "total_mr", "--fast")
    ours, usual = (
        find(array, voxels.affine, submodel, models, Progress(_unheard)).labels
        for array in (sitk.GetArrayFromImage(sitk.ReadImage(str(image))), voxels.array)
    )
    assert overall(ours, usual) >= SAME
    assert overall(inputs.moved(theirs, volume.shape, volume.affine), usual) < 0.1


def overall(ours: LabelMap, theirs: LabelMap) -> float:
    """Of all labels together: twice the voxels with the same label over all labelled voxels of both."""
    return 2 * float(((ours == theirs) & (ours > 0)).sum() / max(1, (ours > 0).sum() + (theirs > 0).sum()))


def _unheard(_stage: str, _percent: int) -> None:
    pass
