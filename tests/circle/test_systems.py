"""Several systems on one series: weights installed by the command, one SEG series each, each in its place."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from pydicom import dcmread

from dicom_nodes.decode import Grid, read_seg
from dicom_nodes.scu import store
from dicom_nodes.types import Affine
from service.jobs import JobState
from service.phantom.dicom import write_dicom
from service.phantom.protocols import make_phantom
from service.submodel import SubModel, load_submodels
from service.verify import geometry_differences
from tests.circle.site import Archive, RunningSite, running_site
from tests.standins.folders import write_bare, write_dataset

pytestmark = pytest.mark.slow

SUBMODELS = {submodel.name: submodel for submodel in load_submodels()}
SYSTEMS = ("mrannotator-abdomen", "mrsegmentator-fast", "totalsegmentator-total-mr-fast", "amos")
"""One sub-model each, whose networks want arrays along LAS, LPS, RAS and RAS; all of them know the liver."""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which `sagittal models install` has put a stand-in of each system."""
    downloads, folder = tmp_path_factory.mktemp("downloads"), tmp_path_factory.mktemp("models")
    for name in SYSTEMS:
        download = written(SUBMODELS[name], downloads / name)
        command = [sys.executable, "-m", "service", "models", "install", str(download), "--folder", str(folder)]
        done = subprocess.run([*command, "--accept-licence"], capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
    return folder


def written(submodel: SubModel, folder: Path) -> Path:
    """The weights as its authors publish them, with all folds; a variant's are those of the sub-model it is of."""
    if submodel.system == "MRSegmentator":
        published = SUBMODELS[submodel.variant_of]
        return write_bare(published, published.network[0], folder)
    (network,) = submodel.network
    return write_dataset(submodel, network, folder)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, pacs: Archive, models: Path) -> Iterator[RunningSite]:
    run = ", ".join(f'"{name}"' for name in SYSTEMS)
    settings = {"quiet_seconds": "1.0", "weights": f'"{models}"', "run": f"[{run}]"}
    # What a stand-in finds is no anatomy beyond the liver: the second witness would hold it.
    sent_nevertheless = '\n[checks]\ncontradiction = "deliver"\n'
    with running_site(tmp_path_factory.mktemp("site"), [pacs.node], sent_nevertheless, **settings) as running:
        yield running


def test_four_systems_give_four_series_of_one_study_and_none_swaps_left_and_right(
    site: RunningSite, pacs: Archive, tmp_path: Path
) -> None:
    phantom = make_phantom("abdomen", 61, voxel_scale=3.0)
    series = write_dicom(phantom, tmp_path)
    store(site.node, "MR1", series.paths)

    _, jobs = site.settled(series.series_uid)

    delivered = dict.fromkeys(SYSTEMS, JobState.DELIVERED)
    assert {job.submodel: job.state for job in jobs} == delivered, [job.reason for job in jobs]
    results = {algorithm(path): path for path in pacs.results_of(series.study_uid)}
    assert sorted(results) == sorted(SYSTEMS)
    assert len({dcmread(path, stop_before_pixels=True).SeriesInstanceUID for path in results.values()}) == 4
    z, y, x = phantom.truth.shape
    # The liver's centre is some 45 mm to the right of the image's: the wrong way round it would be 90 mm off.
    liver = middle_mm(phantom.truth == phantom.labels["liver"], phantom.affine)
    for name, path in results.items():
        assert geometry_differences(path, series.paths) == ()
        found = read_seg(path, Grid(phantom.affine, (z, y, x)))
        numbers = {label: number for number, label in found.names.items()}
        left_of_it = (middle_mm(found.labels == numbers["liver"], phantom.affine) - liver)[0]
        assert abs(left_of_it) < 40, f"{name}: its liver lies {left_of_it:.0f} mm to the left of the liver"


def middle_mm(mask: npt.NDArray[np.bool_], affine: Affine) -> npt.NDArray[np.float64]:
    """The centre of a mask (z, y, x) in LPS mm."""
    centre: npt.NDArray[np.float64] = (affine @ [*np.argwhere(mask).mean(axis=0)[::-1], 1.0])[:3]
    return centre


def algorithm(path: Path) -> str:
    """The sub-model that made a SEG, by its own word, which says "phantom model" first."""
    segment = dcmread(path, stop_before_pixels=True).SegmentSequence[0]
    return str(segment.SegmentationAlgorithmIdentificationSequence[0].AlgorithmName).rpartition(": ")[2]
