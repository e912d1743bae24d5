"""Datasets in; what is found in the series that they make out, for the tests of headers and volumes."""

from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from dicom_nodes.errors import Rule, SeriesUnreadable
from dicom_nodes.geometry import Limits
from dicom_nodes.headers import read_headers
from dicom_nodes.volumes import SeriesContent, find_volumes
from tests.factories import AXIAL, Grid, classic_series, save_all

Kind = dict[str | tuple[int, int], object]
"""Attributes by keyword, and private ones by (group, element) as a VR and a value."""


def content_of(datasets: list[Dataset], folder: Path, **limits: float) -> SeriesContent:
    """Write the datasets as files and find the volumes in them."""
    return find_volumes(read_headers(save_all(datasets, folder)), Limits(**limits))


def rules_of(content: SeriesContent) -> list[Rule]:
    """The rules that what was left out breaks."""
    return [error.rule for error in content.left_out]


def names_of(content: SeriesContent) -> list[str]:
    """The names of the volumes of a series of which nothing was left out."""
    assert content.left_out == ()
    return [volume.name for volume in content.volumes]


def broken(content: SeriesContent) -> SeriesUnreadable:
    """The one thing that was left out of a series without volumes."""
    assert content.volumes == ()
    (error,) = content.left_out
    return error


def stacked(kinds: list[Kind], grid: Grid = AXIAL, **common: object) -> list[Dataset]:
    """One classic series with a stack of slices for each kind, all of them at the same positions."""
    uid = generate_uid()
    return [
        with_private(dataset, kind)
        for kind in kinds
        for dataset in classic_series(
            grid,
            uid,
            FrameOfReferenceUID="1.2.9",
            **{**common, **{name: value for name, value in kind.items() if isinstance(name, str)}},
        )
    ]


def with_private(dataset: Dataset, kind: Kind) -> Dataset:
    """Add the private elements of a kind."""
    for tag, value in kind.items():
        if not isinstance(tag, str):
            vr, stated = value
            dataset.add_new(tag, vr, stated)
    return dataset


def diffusion(b: float, direction: list[float] | None = None, **attributes: object) -> Kind:
    """Attributes of a diffusion image, as the standard has them."""
    return {"DiffusionBValue": float(b), "DiffusionGradientOrientation": direction, **attributes}
