"""A rejection note names what is rejected and nothing else, and every reader of Key Objects reads it."""

import io
import shutil
import subprocess
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import highdicom as hd
import pytest
from pydicom import Dataset, dcmread, dcmwrite

from dicom_nodes.encode import ENCODERS
from dicom_nodes.encode.rejection import Rejected, Rejection, encode_rejection
from dicom_nodes.errors import SagittalError
from dicom_nodes.rejection import KEY_OBJECT_SELECTION, NoteUnreadableError, RejectionNote, Title, read_note
from dicom_nodes.types import Finished, Measurement, Reference
from tests.dicom_nodes import seg_sources as made

DCIODVFY, DSRDUMP = shutil.which("dciodvfy"), shutil.which("dsrdump")
AT = datetime(2026, 11, 21, 10, 0, 0)  # noqa: DTZ001 -- site time, as DICOM has it
RTSTRUCT = "1.2.840.10008.5.1.4.1.1.481.3"


def results(folder: Path, change: Callable[[Dataset], None] = lambda image: None) -> tuple[list[Dataset], Path]:
    """A SEG and a report of one source, and the SEG's file."""
    (folder / "source").mkdir()
    volume = made.classic(folder / "source", made.AXIAL, change)
    measurement = Measurement(1, 12.5, 300.0, 4.0, 4, 1, 4, ())
    of = Finished(made.label_map(volume, 1), volume, made.identity(), (measurement,))
    seg = ENCODERS["seg"](of, ())
    path = folder / "seg.dcm"
    dcmwrite(path, seg, enforce_file_format=True)
    return [seg, ENCODERS["sr"](of, [seg])], path


def rejection(objects: list[Dataset], like: Path, **how: object) -> Rejection:
    rejected = tuple(
        Rejected(Reference(str(each.SOPClassUID), str(each.SOPInstanceUID)), str(each.SeriesInstanceUID))
        for each in objects
    )
    values: dict[str, object] = {"title": Title.QUALITY, "because": "the left kidney is missing"} | how
    return Rejection("abcdef012345", at=AT, objects=rejected, like=like, **values)  # type: ignore[arg-type]


def written(note: Dataset, folder: Path) -> Path:
    path = folder / "note.dcm"
    dcmwrite(path, note, enforce_file_format=True)
    return path


def described(note: Dataset) -> list[str]:
    """The Key Object Descriptions (113012, DCM) of a note."""
    texts = [item for item in note.ContentSequence if item.ValueType == "TEXT"]
    return [item.TextValue for item in texts if item.ConceptNameCodeSequence[0].CodeValue == "113012"]


@pytest.mark.parametrize("title", Title)
def test_a_note_is_read_back_with_its_title_and_what_it_rejects_by_series(tmp_path: Path, title: Title) -> None:
    objects, like = results(tmp_path)
    note = read_note(written(encode_rejection(rejection(objects, like, title=title)), tmp_path))
    assert isinstance(note, RejectionNote)
    assert (note.title, note.study_uid) == (title, objects[0].StudyInstanceUID)
    assert {uid: [r.sop_instance_uid for r in held] for uid, held in note.references.items()} == {
        each.SeriesInstanceUID: [each.SOPInstanceUID] for each in objects
    }
    assert note.rejected == {each.SOPInstanceUID for each in objects}


def test_a_note_lies_in_the_study_with_patient_and_charset_as_the_source_wrote_them(tmp_path: Path) -> None:
    def japanese(image: Dataset) -> None:
        image.SpecificCharacterSet = ["", "ISO 2022 IR 87"]
        image.PatientName = "Yamada^Tarou=山田^太郎=やまだ^たろう"

    objects, like = results(tmp_path, japanese)
    source = dcmread(next((tmp_path / "source").glob("*.dcm")))
    note = dcmread(written(encode_rejection(rejection(objects, like)), tmp_path))
    for keyword in ("SpecificCharacterSet", "PatientName", "PatientID", "StudyInstanceUID", "StudyDate", "StudyID"):
        assert note[keyword].value == source[keyword].value, keyword
    raw = Dataset()
    raw.PatientName = note.PatientName
    assert note.PatientName.original_string == source.PatientName.original_string
    assert (note.Modality, note.SOPClassUID) == ("KO", KEY_OBJECT_SELECTION)
    assert note.SeriesInstanceUID not in {each.SeriesInstanceUID for each in objects}


def test_the_same_withdrawal_makes_the_same_bytes_and_another_makes_another_object(tmp_path: Path) -> None:
    objects, like = results(tmp_path)
    first, second = io.BytesIO(), io.BytesIO()
    dcmwrite(first, encode_rejection(rejection(objects, like)))
    dcmwrite(second, encode_rejection(rejection(objects, like)))
    assert first.getvalue() == second.getvalue()
    others = [
        encode_rejection(rejection(objects, like)),
        encode_rejection(rejection(objects[:1], like)),
        encode_rejection(rejection(objects, like, title=Title.SAFETY)),
    ]
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID"):
        assert len({each[keyword].value for each in others}) == 3


def test_the_words_of_a_person_are_the_description_in_ascii(tmp_path: Path) -> None:
    objects, like = results(tmp_path)
    note = encode_rejection(rejection(objects, like, because="Wrong side:\nRückfrage Dr. Ö\\x"))
    assert described(note) == ["Wrong side: Ruckfrage Dr. O x"]
    assert described(encode_rejection(rejection(objects, like, because=""))) == []


def test_images_are_referred_to_as_images_and_all_else_as_composites(tmp_path: Path) -> None:
    objects, like = results(tmp_path)
    contours = Rejected(Reference(RTSTRUCT, "2.25.77"), "2.25.78")
    asked = rejection(objects, like)
    note = encode_rejection(Rejection(asked.job_id, asked.title, "", AT, (*asked.objects, contours), like))
    assert [item.ValueType for item in note.ContentSequence][-3:] == ["IMAGE", "COMPOSITE", "COMPOSITE"]


def test_a_note_that_rejects_nothing_is_not_written(tmp_path: Path) -> None:
    _, like = results(tmp_path)
    with pytest.raises(ValueError, match="at least one object"):
        encode_rejection(rejection([], like))


@pytest.mark.skipif(DCIODVFY is None, reason="dciodvfy is not installed")
def test_dciodvfy_finds_no_error(tmp_path: Path) -> None:
    objects, like = results(tmp_path)
    path = written(encode_rejection(rejection(objects, like)), tmp_path)
    done = subprocess.run([str(DCIODVFY), "-new", path], capture_output=True, text=True, check=False)
    assert [line for line in done.stderr.splitlines() if "Error" in line] == []
    assert "KeyObjectSelectionDocument" in done.stderr


@pytest.mark.skipif(DSRDUMP is None, reason="dcmtk is not installed")
def test_dcmtk_reads_title_words_and_references(tmp_path: Path) -> None:
    objects, like = results(tmp_path)
    path = written(encode_rejection(rejection(objects, like)), tmp_path)
    done = subprocess.run([str(DSRDUMP), "+Pu", path], capture_output=True, text=True, check=True)
    assert "Rejected for Quality Reasons" in done.stdout
    assert "the left kidney is missing" in done.stdout
    assert all(str(each.SOPInstanceUID) in done.stdout for each in objects)


def test_highdicom_reads_it_as_a_key_object_selection(tmp_path: Path) -> None:
    objects, like = results(tmp_path)
    path = written(encode_rejection(rejection(objects, like)), tmp_path)
    document = hd.ko.KeyObjectSelectionDocument.from_dataset(dcmread(path))
    assert len(document.content.get_references()) == 2
    study, series, instance = document.resolve_reference(objects[0].SOPInstanceUID)
    assert (study, series) == (objects[0].StudyInstanceUID, objects[0].SeriesInstanceUID)
    assert instance == objects[0].SOPInstanceUID


def test_a_key_object_selection_under_another_title_is_no_rejection(tmp_path: Path) -> None:
    objects, like = results(tmp_path)
    note = encode_rejection(rejection(objects, like))
    note.ConceptNameCodeSequence[0].CodeValue = "113000"
    assert read_note(written(note, tmp_path)) is None
    assert read_note(like) is None


def test_a_note_that_cannot_be_read_is_told_from_one_that_is_none(tmp_path: Path) -> None:
    objects, like = results(tmp_path)
    note = encode_rejection(rejection(objects, like))
    del note.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    with pytest.raises(NoteUnreadableError):
        read_note(written(note, tmp_path))
    (tmp_path / "other.dcm").write_bytes(b"no DICOM")
    with pytest.raises(SagittalError, match="cannot be read"):
        read_note(tmp_path / "other.dcm")
