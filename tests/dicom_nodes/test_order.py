"""Whatever order files come in, in how many piles, with whatever else in them: the same is found."""

from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import generate_uid

from dicom_nodes.attributes import WANTED
from dicom_nodes.headers import Header, Headers, read_headers
from dicom_nodes.volumes import SeriesContent, find_volumes
from tests.dicom_nodes.series import diffusion, stacked
from tests.factories import AXIAL, GRIDS, Grid, classic_series, classic_slice, enhanced, save_all

MANY = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def side_by_side(names: list[str], slices: int) -> list[Dataset]:
    """Stacks of several orientations in one series."""
    uid = generate_uid()
    grids = [replace(GRIDS[name], shape=(slices, 6, 8)) for name in names]
    return [each for grid in grids for each in classic_series(grid, uid, FrameOfReferenceUID="1.2.9")]


def faulty() -> list[Dataset]:
    datasets = stacked([{"EchoNumbers": 1}, {"EchoNumbers": 2}])
    datasets[1].Modality, datasets[2].ImageType, datasets[3].Modality = "CT", ["DERIVED", "SECONDARY", "MIP"], "OT"
    return datasets


def objects() -> list[Dataset]:
    uids = {"SeriesInstanceUID": "1.2.3.4", "StudyInstanceUID": "1.2.3", "FrameOfReferenceUID": "1.2.9"}
    return [enhanced(InstanceNumber=number, **uids) for number in range(4)]


SERIES = {
    "plain": classic_series,
    "diffusion": lambda: stacked([diffusion(b, [0, 0, 1]) for b in (0, 400, 800)]),
    "repetitions without a name": lambda: [classic_slice(AXIAL, n % 4, InstanceNumber=n) for n in range(12)],
    "localizer": lambda: side_by_side(["axial", "sagittal", "coronal"], 5),
    "two stacks": lambda: side_by_side(["axial", "sagittal"], 10),
    "faults": faulty,
    "duplicates": lambda: [classic_slice(AXIAL, z) for z in (0, 1, 2, 2, 3)],
    "rows that turn": lambda: [classic_slice(GRIDS["axial, prone" if z % 2 else "axial"], z) for z in range(6)],
    "Enhanced objects": objects,
    "several series": lambda: [*classic_series(), *classic_series(GRIDS["sagittal"]), enhanced()],
}


@cache
def headers_of(name: str) -> tuple[Header, ...]:
    with TemporaryDirectory() as folder:
        return read_headers(save_all(SERIES[name](), Path(folder))).read


def outcome(content: SeriesContent) -> list[object]:
    """All that is found, as plain values."""
    found = [
        (each.series_uid, each.index, each.name, each.frames, each.affine.tolist(), each.shape, dict(each.facts))
        for each in content.volumes
    ]
    return [*found, *map(str, content.left_out)]


@pytest.mark.parametrize("name", SERIES)
@given(data=st.data())
@MANY
def test_the_order_of_files_makes_no_difference(name, data):
    headers = headers_of(name)
    shuffled = data.draw(st.permutations(headers))

    assert outcome(find_volumes(Headers(tuple(shuffled)))) == outcome(find_volumes(Headers(headers)))


@pytest.mark.parametrize("name", SERIES)
@given(data=st.data())
@MANY
def test_two_piles_in_any_order_with_some_files_in_both_make_no_difference(name, data):
    headers = headers_of(name)
    places = data.draw(st.lists(st.sampled_from(["first", "second", "both"]), min_size=len(headers)))
    sorted_out = list(zip(headers, places, strict=False))
    first = data.draw(st.permutations([each for each, place in sorted_out if place != "second"]))
    second = data.draw(st.permutations([each for each, place in sorted_out if place != "first"]))

    expected = outcome(find_volumes(Headers(headers)))

    assert outcome(find_volumes(Headers((*first, *second)))) == expected
    assert outcome(find_volumes(Headers((*second, *first)))) == expected


UNREAD = {
    "SliceLocation": ("DS", ["1.5", "2"]), "AcquisitionTime": ("TM", ["101010", "235959.9"]),
    "WindowCenter": ("DS", ["40", ["40", "80"]]), "SAR": ("DS", ["0.1"]), "ImageID": ("SH", ["a", ""]),
    "OperatorsName": ("PN", ["Doe^Jane"]), "AcquisitionMatrix": ("US", [0, 7]),
    "SmallestImagePixelValue": ("US", [3]), "InstitutionName": ("LO", ["Phantom Hospital"]),
    "PatientComments": ("LT", ["QA"]), "ContentDate": ("DA", ["20260101"]),
}  # fmt: skip
PUBLIC = [(int(Tag(name)), vr, value) for name, (vr, values) in UNREAD.items() for value in values]
PRIVATE_GROUPS = (0x0009, 0x0019, 0x0021, 0x0029, 0x0043, 0x0051, 0x2001, 0x2005, 0x7005)
PRIVATE_VALUES = st.one_of(
    st.tuples(st.just("LO"), st.text("abcXYZ 19", max_size=16)),
    st.tuples(st.just("OB"), st.binary(max_size=20).map(lambda value: value * 2)),
    st.tuples(st.just("FD"), st.floats(allow_nan=False)),
    st.tuples(st.just("SQ"), st.builds(lambda: [Dataset()])),
)


def unrelated() -> st.SearchStrategy[tuple[int, str, object]]:
    """A tag that is not read, public or private, with a value."""
    private = st.tuples(st.sampled_from(PRIVATE_GROUPS), st.integers(0x1000, 0x10FF))
    unread = private.map(lambda place: place[0] << 16 | place[1]).filter(lambda tag: tag not in WANTED)
    return st.one_of(
        st.sampled_from(PUBLIC), st.tuples(unread, PRIVATE_VALUES).map(lambda both: (both[0], *both[1]))
    )


@given(tags=st.lists(st.tuples(unrelated(), st.sets(st.integers(0, 9), min_size=1)), min_size=1, max_size=6))
@MANY
def test_a_tag_that_is_not_read_makes_no_difference(tags):
    datasets = stacked([diffusion(0), diffusion(800)], Grid(shape=(5, 2, 2)))
    with TemporaryDirectory() as folder:
        expected = outcome(find_volumes(read_headers(save_all(datasets, Path(folder)))))
        for (tag, vr, value), places in tags:
            for place in places:
                datasets[place].add_new(tag, vr, value)
        changed = outcome(find_volumes(read_headers(save_all(datasets, Path(folder)))))

    assert changed == expected
