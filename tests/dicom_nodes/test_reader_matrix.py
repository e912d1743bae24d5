"""What other people's readers and validators say of our SEGs, compared voxel by voxel by patient position."""

import os
import shutil
import subprocess
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import highdicom as hd
import itkwasm_dicom
import numpy as np
import numpy.typing as npt
import pytest
import SimpleITK
from pydicom import Dataset, dcmwrite

from dicom_nodes.encode import ENCODERS
from dicom_nodes.types import Affine, Finished, FrameRef, Volume
from tests.dicom_nodes import seg_sources as made
from tests.viewers import cornerstone

DCIODVFY = shutil.which("dciodvfy")
DCENTVFY = shutil.which("dcentvfy")
DCMQI = Path(sysconfig.get_path("scripts")) / "segimage2itkimage"
KINDS = [kind for kind in ("seg", "labelmap") if kind in ENCODERS]

Reader = Callable[[Path], tuple[npt.NDArray[np.generic], Affine]]


def lossy(image: Dataset) -> None:
    image.LossyImageCompression, image.LossyImageCompressionRatio = "01", "12.5"
    image.LossyImageCompressionMethod = "ISO_15444_1"


def bare(image: Dataset) -> None:
    for keyword in ("PatientName", "PatientBirthDate", "AccessionNumber", "StudyTime", "ReferringPhysicianName"):
        del image[keyword]
    del image.FrameOfReferenceUID, image.SliceThickness, image.Manufacturer, image.PositionReferenceIndicator


def second_echo(folder: Path) -> Volume:
    """Two volumes of one series at one place; the second."""
    first, second = folder / "1", folder / "2"
    first.mkdir()
    second.mkdir()

    def one_series(image: Dataset) -> None:
        made.describe(image, str(folder))

    made.classic(first, made.AXIAL, one_series)
    return replace(made.classic(second, made.AXIAL, one_series), index=2, name="echo 2")


@dataclass(frozen=True)
class Case:
    """What a SEG is made of."""

    make: Callable[[Path], Volume]
    values: tuple[int, ...] = (1, 2, 3)
    """Labels that have voxels."""
    listed: tuple[int, ...] = ()
    """Labels of the sub-model; empty for the same."""
    part: str = ""
    phantom: bool = False


def classic(geometry: made.Geometry, change: made.Header = lambda image: None) -> Callable[[Path], Volume]:
    return partial(made.classic, geometry=geometry, change=change)


MANY_SLICES = made.Geometry(made.SAGITTAL.orientation, shape=(6, 40, 44))
CASES: dict[str, Case] = {
    "axial": Case(classic(made.AXIAL)),
    "sagittal": Case(classic(made.SAGITTAL)),
    "coronal": Case(classic(made.CORONAL)),
    "oblique": Case(classic(made.unit(made.OBLIQUE))),
    "feet first, prone": Case(classic(made.FEET_FIRST_PRONE), (1, 2)),
    "upside down": Case(classic(made.UPSIDE_DOWN), (1, 2)),
    "33 x 41": Case(classic(made.ODD)),
    "31 x 37": Case(classic(made.ODD_31_37)),
    "101 x 83, oblique": Case(classic(made.unit(made.ODD_OBLIQUE)), (1, 2)),
    "one segment": Case(classic(made.AXIAL), (4,)),
    "44 segments": Case(classic(MANY_SLICES), tuple(range(1, 45))),
    "100 segments": Case(classic(made.ODD), tuple(range(1, 101))),
    "source with loss": Case(classic(made.AXIAL, lossy), (1, 2)),
    "source that says little": Case(classic(made.AXIAL, bare), (1, 2)),
    "gaps in the labels": Case(classic(made.AXIAL), (2, 7, 250)),
    "a part of the structures": Case(classic(made.AXIAL), (2, 3), (1, 2, 3, 4), part="vertebrae"),
    "phantom model": Case(classic(made.AXIAL), phantom=True),
    "second volume of its series": Case(second_echo),
    "enhanced, frames shuffled": Case(
        partial(made.enhanced, geometry=made.unit(made.OBLIQUE), order=(4, 2, 5, 1, 3))
    ),
    "legacy converted": Case(partial(made.enhanced, geometry=made.SAGITTAL, legacy=True), (1, 2)),
}


@dataclass(frozen=True, eq=False)
class Written:
    """A case as a reader meets it, and what it must find."""

    path: Path
    volume: Volume
    expected: npt.NDArray[np.uint8]
    """(z, y, x): the segment number of each voxel."""

    @property
    def series(self) -> list[FrameRef]:
        """All images of the source series in the order that their paths have, the last first."""
        files = self.path.parent.glob("source/**/*.dcm")
        own = {frame.path for frame in self.volume.frames}
        others = [FrameRef(path, "", "", None) for path in files if path not in own]
        return sorted([*self.volume.frames, *others], key=lambda ref: str(ref.path), reverse=True)


def write(folder: Path, kind: str, name: str) -> Written:
    case = CASES[name]
    source = folder / "source"
    source.mkdir(parents=True)
    volume = case.make(source)
    label_map = made.label_map(volume, *case.values, listed=case.listed, phantom=case.phantom)
    path = folder / f"{kind}.dcm"
    finished = Finished(label_map, volume, replace(made.identity(), part=case.part), ())
    dcmwrite(path, ENCODERS[kind](finished, ()))
    return Written(path, volume, np.searchsorted([0, *case.values], label_map.array).astype(np.uint8))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Written]:
    """Every case in every kind of Segmentation, by kind and name."""
    root = tmp_path_factory.mktemp("matrix")
    return {
        (kind, name): write(root / f"{kind} {number}", kind, name)
        for kind in KINDS
        for number, name in enumerate(CASES)
    }


def by_highdicom(path: Path) -> tuple[npt.NDArray[np.generic], Affine]:
    volume = hd.seg.segread(path).get_volume(combine_segments=True)
    slice_row_column: Affine = volume.affine
    affine = slice_row_column.copy()
    affine[:, [0, 2]] = affine[:, [2, 0]]
    return volume.array, affine


def by_dcmqi(path: Path) -> tuple[npt.NDArray[np.generic], Affine]:
    out = path.parent / "dcmqi"
    out.mkdir(exist_ok=True)
    command = [str(DCMQI), "--inputDICOM", str(path), "--outputDirectory", str(out)]
    report = run(*command, "--outputType", "nrrd", "--mergeSegments")
    made_here = next(out.glob("*.nrrd"), None)
    assert made_here is not None, report
    image = SimpleITK.ReadImage(str(made_here))
    return SimpleITK.GetArrayFromImage(image), itk_affine(
        image.GetDirection(), image.GetSpacing(), image.GetOrigin()
    )


def by_itk_wasm(path: Path) -> tuple[npt.NDArray[np.generic], Affine]:
    image = itkwasm_dicom.read_segmentation(os.fspath(path))[0]
    return np.asarray(image.data), itk_affine(image.direction, image.spacing, image.origin)


def itk_affine(direction: object, spacing: object, origin: object) -> Affine:
    affine = np.eye(4)
    affine[:3, :3] = np.asarray(direction, float).reshape(3, 3) * np.asarray(spacing, float)
    affine[:3, 3] = np.asarray(origin, float)
    return affine


def compare(each: Written, read: Reader) -> None:
    array, affine = read(each.path)
    assert np.array_equal(made.onto_grid(each.volume, array, affine), each.expected)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("read", [by_highdicom, by_dcmqi])
@pytest.mark.parametrize("kind", KINDS)
def test_readers_see_every_voxel_where_the_label_map_has_it(
    written: dict[tuple[str, str], Written], kind: str, read: Reader, name: str
) -> None:
    compare(written[kind, name], read)


# The DCMTK inside @itk-wasm/dicom 7.6.4 reads too few bytes of a frame that begins and ends within a byte, and
# shifts the next by eight pixels: matrices whose rows × columns leave 3, 5, 6 or 7 modulo 8. The others are right.
BEYOND_ITK_WASM = frozenset({"31 x 37", "101 x 83, oblique"})


@pytest.mark.parametrize("name", [name for name in CASES if name not in BEYOND_ITK_WASM])
def test_itk_wasm_sees_every_voxel_where_the_label_map_has_it(
    written: dict[tuple[str, str], Written], name: str
) -> None:
    compare(written["seg", name], by_itk_wasm)


@pytest.mark.parametrize("name", sorted(BEYOND_ITK_WASM))
@pytest.mark.xfail(strict=True, reason="itk-wasm misreads frames of 3, 5, 6 or 7 pixels beyond whole bytes")
def test_itk_wasm_misreads_some_odd_matrices(written: dict[tuple[str, str], Written], name: str) -> None:
    compare(written["seg", name], by_itk_wasm)


@pytest.fixture(scope="module")
def painted(written: dict[tuple[str, str], Written]) -> dict[tuple[str, str], cornerstone.Painted]:
    """What Cornerstone3D paints on the images of the source series, by kind and name."""
    if missing := cornerstone.missing():
        pytest.skip(f"not installed: {missing}")
    answers = cornerstone.paint([(each.path, each.series) for each in written.values()])
    return dict(zip(written, answers, strict=True))


def compare_painted(each: Written, painted: cornerstone.Painted, names: list[str]) -> None:
    assert painted.error == ""
    assert list(painted.labels) == names
    slices = {(frame.path, frame.frame_number): z for z, frame in enumerate(each.volume.frames)}
    found = np.zeros_like(each.expected)
    for ref, image in zip(each.series, painted.images, strict=True):
        z = slices.get((ref.path, ref.frame_number))
        if z is None:
            assert not image.any(), f"painted on {ref.path.name}, which is of another volume"
        else:
            found[z] = image
    assert np.array_equal(found, each.expected)


# @cornerstonejs/adapters 5.14.0 tells from the length of a BINARY Segmentation's pixel data how frames are packed.
# It throws where a byte was added for an even length, and where frames that each began in a byte of their own would
# be as long it takes them for such. Neither comes where rows × columns are a multiple of 16.
BEYOND_CORNERSTONE = frozenset({"31 x 37", "101 x 83, oblique"})
PAINTED = [(kind, name) for kind in KINDS for name in CASES]


@pytest.mark.parametrize(
    ("kind", "name"), [case for case in PAINTED if case[0] != "seg" or case[1] not in BEYOND_CORNERSTONE]
)
def test_cornerstone_paints_every_voxel_on_the_image_that_it_was_found_in(
    written: dict[tuple[str, str], Written],
    painted: dict[tuple[str, str], cornerstone.Painted],
    kind: str,
    name: str,
) -> None:
    names = [f"organ_{value}" for value in CASES[name].values]
    compare_painted(written[kind, name], painted[kind, name], names)


@pytest.mark.parametrize("name", sorted(BEYOND_CORNERSTONE))
@pytest.mark.xfail(strict=True, reason="Cornerstone's adapters 5.14 guess how bits are packed, and guess wrong")
def test_cornerstone_misreads_some_odd_matrices(
    written: dict[tuple[str, str], Written], painted: dict[tuple[str, str], cornerstone.Painted], name: str
) -> None:
    names = [f"organ_{value}" for value in CASES[name].values]
    compare_painted(written["seg", name], painted["seg", name], names)


@pytest.mark.skipif(DCIODVFY is None, reason="dciodvfy (Debian package dicom3tools) is not installed")
@pytest.mark.parametrize("name", CASES)
def test_dciodvfy_finds_no_error(written: dict[tuple[str, str], Written], name: str) -> None:
    report = run(str(DCIODVFY), "-new", str(written["seg", name].path)).splitlines()
    assert "Segmentation" in report
    assert [line for line in report if line.startswith("Error")] == []


@pytest.mark.skipif(DCENTVFY is None, reason="dcentvfy (Debian package dicom3tools) is not installed")
@pytest.mark.parametrize("name", [name for name in CASES if name != "source that says little"])  # we say it, empty
def test_patient_study_and_frame_of_reference_agree_with_the_source_for_dcentvfy(
    written: dict[tuple[str, str], Written], name: str
) -> None:
    each = written["seg", name]
    sources = sorted({str(frame.path) for frame in each.series})
    assert run(str(DCENTVFY), str(each.path), *sources) == ""


def run(*command: str) -> str:
    done = subprocess.run(command, check=False, capture_output=True, text=True, errors="replace")
    return done.stdout + done.stderr
