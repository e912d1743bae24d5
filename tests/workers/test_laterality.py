"""Left stays left: from DICOM through the model's axes to the SEG, in every plane, oblique, feet first, prone."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from dicom_nodes.decode import Grid, read_seg
from dicom_nodes.encode.seg import encode_seg
from dicom_nodes.headers import read_headers
from dicom_nodes.types import Affine, Plane, ResultIdentity, Volume
from dicom_nodes.volumes import find_volumes
from service.modelstore import ModelStore
from service.phantom.body import Acquisition
from service.phantom.dicom import write_dicom
from service.phantom.grids import DIRECTIONS, grid, turned
from service.phantom.protocols import make_phantom
from service.submodel import SubModel, load_submodels
from tests.workers.positions import Shelf
from workers.models import WarmModels
from workers.segmentation import Models, segment

ABDOMEN = next(submodel for submodel in load_submodels() if submodel.name == "mrannotator-abdomen")
SMALL = {"matrix": (48, 60), "pixel_mm": 6.0, "slices": 20, "thickness_mm": 8.0, "gap_mm": 2.0}
CENTRE = make_phantom("abdomen", 12, voxel_scale=8.0).acquisition.centre_mm


def acquired(
    plane: Plane, tilt: tuple[float, float, float] = (0, 0, 0), signs: tuple[int, ...] = (1, 1, 1)
) -> Acquisition:
    straight = grid(plane, CENTRE, **SMALL)  # type: ignore[arg-type]  # the keywords are those of grid
    directions = DIRECTIONS[plane] * np.array(signs, float)[:, None]
    if tilt != (0, 0, 0):
        return grid(plane, CENTRE, tilt=tilt, **SMALL)  # type: ignore[arg-type]
    return turned(straight, directions)


ACQUISITIONS = {
    "axial": acquired(Plane.AXIAL),
    "sagittal": acquired(Plane.SAGITTAL),
    "coronal": acquired(Plane.CORONAL),
    "axial oblique": acquired(Plane.AXIAL, tilt=(11, -7, 5)),
    "sagittal oblique": acquired(Plane.SAGITTAL, tilt=(9, 6, -12)),
    "coronal oblique": acquired(Plane.CORONAL, tilt=(-14, 8, 6)),
    "axial, feet first": acquired(Plane.AXIAL, signs=(-1, 1, -1)),
    "axial, prone": acquired(Plane.AXIAL, signs=(-1, -1, 1)),
    "axial, feet first and prone": acquired(Plane.AXIAL, signs=(1, -1, -1)),
    "sagittal, feet first": acquired(Plane.SAGITTAL, signs=(-1, 1, -1)),
    "sagittal, prone": acquired(Plane.SAGITTAL, signs=(-1, -1, 1)),
    "coronal, feet first": acquired(Plane.CORONAL, signs=(-1, 1, -1)),
    "coronal, prone": acquired(Plane.CORONAL, signs=(-1, -1, 1)),
}


class Compass:
    """A model that knows nothing but its axes: a label for each octant, +1 left, +2 front, +4 head."""

    labels = {name: value for value, name in enumerate(["background", *"abcdefgh"])}  # noqa: RUF012  # a fake's
    digest = "compass"
    phantom = True

    def predict(
        self,
        array: npt.NDArray[np.float32],
        spacing_mm: tuple[float, float, float],
        progress: Callable[[str, float], None],
    ) -> npt.NDArray[np.uint8]:
        z, y, x = (np.arange(n) >= n / 2 for n in array.shape)
        return (1 + x + 2 * y[:, None] + 4 * z[:, None, None]).astype(np.uint8)


def came_back(acquisition: Acquisition, folder: Path, models: Models, submodel: SubModel) -> npt.NDArray[np.uint8]:
    """The labels (z, y, x) of a SEG on the acquisition's own grid, by position, in the sub-model's values."""
    phantom = make_phantom("abdomen", 12, acquisition=acquisition)
    series = write_dicom(phantom, folder)
    (volume,) = find_volumes(read_headers(series.paths)).volumes
    seg = encode_seg(found(volume, models, submodel), volume, identity(submodel))
    seg.save_as(folder / "seg.dcm", enforce_file_format=True)
    decoded = read_seg(folder / "seg.dcm", Grid(acquisition.affine, acquisition.shape))
    values = {each.name: each.value for each in submodel.segments("abdomen", None)}
    table = np.zeros(256, np.uint8)
    for number, name in decoded.names.items():
        table[number] = values[name]
    labels: npt.NDArray[np.uint8] = table[decoded.labels]
    return labels


def found(volume: Volume, models: Models, submodel: SubModel):  # type: ignore[no-untyped-def]
    return segment(volume, submodel, "abdomen", None, models, lambda *_: None)


def identity(submodel: SubModel) -> ResultIdentity:
    return ResultIdentity(submodel.name, "abdomen", 1, None, datetime(2026, 1, 2, tzinfo=UTC), "test", "test")


def places(shape: tuple[int, int, int], affine: Affine) -> npt.NDArray[np.float64]:
    """(z, y, x, 3): where every voxel lies, in LPS mm from the middle of the grid."""
    index = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), axis=-1)[..., ::-1]
    at = index @ affine[:3, :3].T
    centred: npt.NDArray[np.float64] = at - at.reshape(-1, 3).mean(axis=0)
    return centred


@pytest.mark.parametrize("name", ACQUISITIONS)
def test_what_the_model_calls_left_front_and_head_lies_there_in_the_patient(name: str, tmp_path: Path) -> None:
    acquisition = ACQUISITIONS[name]
    labels = came_back(acquisition, tmp_path, Shelf(Compass()), ABDOMEN).astype(int) - 1
    at = places(acquisition.shape, acquisition.affine)
    # LPS: left is +x, front is -y, head is +z.
    for axis, (bit, sign) in enumerate(((1, 1), (2, -1), (4, 1))):
        side = at[..., axis] * sign
        said = (labels & bit) > 0
        assert side[said].mean() > 20
        assert side[~said].mean() < -20
        if "oblique" not in name:
            assert (said == (side > 0))[np.abs(side) > 1e-6].all()


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["axial", "axial oblique", "axial, feet first", "axial, prone", "coronal", "sagittal"]
)
def test_the_network_finds_the_left_kidney_on_the_left_however_the_patient_was_imaged(
    name: str, tmp_path: Path, phantom_models: ModelStore
) -> None:
    acquisition = ACQUISITIONS[name]
    models = WarmModels(phantom_models, {ABDOMEN.name: ABDOMEN})
    labels = came_back(acquisition, tmp_path, models, ABDOMEN)
    at = places(acquisition.shape, acquisition.affine)
    value = {segment_.name: segment_.value for segment_ in ABDOMEN.segments("abdomen", None)}
    left, right = at[labels == value["kidney_left"]], at[labels == value["kidney_right"]]
    assert len(left) > 20 and len(right) > 20
    assert left[:, 0].mean() > right[:, 0].mean() + 60
    liver, spleen = at[labels == value["liver"]], at[labels == value["spleen"]]
    assert spleen[:, 0].mean() > liver[:, 0].mean() + 60
