"""The example of TotalSegmentator's own tests: with the real weights, ours is what theirs published.

`example_mr_sm.nii.gz` and the label map `example_seg_mr.nii.gz` that the networks 850 and 851 made of it lie in the
test data. The weights cannot be shipped: SAGITTAL_MODELS names the folder where a user has them installed.
"""

import os
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from dicom_nodes.errors import ModelUnusable
from service.modelstore import ModelStore
from service.submodel import SubModel, load_submodels
from tests import real_data
from tests.parity import inputs, peers
from tests.parity.published import TOTAL, Published
from tests.parity.test_parity import SAME, overall
from workers.models import WarmModels
from workers.progress import Progress
from workers.segmentation import find

EXPECTED = 0.99
NETWORKS = ("totalsegmentator-850", "totalsegmentator-851")


def test_with_the_real_weights_the_published_example_is_reproduced() -> None:
    known = {submodel.name: submodel for submodel in load_submodels()}
    models = WarmModels(_real_weights(), known)
    assert agreement(models, known, *_example()) > EXPECTED


@pytest.mark.parity
def test_weights_that_are_not_the_real_ones_do_not_reproduce_the_example(
    models: WarmModels, submodels: dict[str, SubModel]
) -> None:
    assert agreement(models, submodels, *_example()) < 0.5


@pytest.mark.parity
def test_what_totalsegmentator_makes_of_the_example_with_the_same_weights_is_reproduced(
    models: WarmModels, submodels: dict[str, SubModel], published: Published, tmp_path: Path
) -> None:
    image, _ = _example()
    large = sitk.ReadImage(str(image), sitk.sitkFloat32) * float(inputs.SLOPE)
    sitk.WriteImage(large, str(tmp_path / "image.nii.gz"))
    work = tmp_path / "work"
    work.mkdir()
    theirs = peers.totalsegmentator(tmp_path / "image.nii.gz", published.totalsegmentator, work, "total_mr")
    assert agreement(models, submodels, tmp_path / "image.nii.gz", theirs) >= SAME


def agreement(models: WarmModels, submodels: dict[str, SubModel], image: Path, reference: inputs.Labels) -> float:
    """Dice over all labels together of what ours finds in an image and a reference, voxel by place."""
    read = sitk.ReadImage(str(image), sitk.sitkFloat32)
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(read.GetDirection(), (3, 3)) * np.asarray(read.GetSpacing())
    affine[:3, 3] = read.GetOrigin()
    array = sitk.GetArrayFromImage(read)
    found = find(array, affine, submodels[TOTAL], models, Progress(lambda _stage, _percent: None))
    z, y, x = array.shape
    return overall(found.labels, inputs.moved(reference, (z, y, x), affine))


def _example() -> tuple[Path, inputs.Labels]:
    folder = real_data.folder("nifti/totalsegmentator_example_mr")
    return folder / "example_mr_sm.nii.gz", inputs.read_nifti(folder / "example_seg_mr.nii.gz")


def _real_weights() -> ModelStore:
    named = os.environ.get("SAGITTAL_MODELS")
    if not named:
        pytest.skip("SAGITTAL_MODELS names no folder of installed models with the real networks 850 and 851")
    store = ModelStore(Path(named))
    for network in NETWORKS:
        try:
            installed = store.get(network)
        except ModelUnusable as error:
            pytest.skip(f"SAGITTAL_MODELS: {error}")
        if installed.phantom:
            pytest.skip(f"SAGITTAL_MODELS: {network} in {named} is trained on phantoms, not the published one")
    return store
