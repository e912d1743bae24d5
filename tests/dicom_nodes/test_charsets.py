"""Patient and study in every character set, right or wrong: in each object of ours they are the source's bytes.

The names are those of PS3.5 annexes H to K and of pydicom's samples; every object of the table of encoders is made.
"""

import shutil
import struct
import subprocess
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag

from dicom_nodes.encode import ENCODERS
from dicom_nodes.encode.rejection import Rejected, Rejection, encode_rejection
from dicom_nodes.encode.source import PATIENT_AND_STUDY
from dicom_nodes.headers import read_headers
from dicom_nodes.reader import read_voxels
from dicom_nodes.rejection import Title
from dicom_nodes.scu import store
from dicom_nodes.types import Finished, Reference, Volume
from dicom_nodes.volumes import find_volumes
from tests import real_data
from tests.dicom_nodes import seg_sources as made
from tests.dicom_nodes.peers import needs_dcmtk, receiving, storescu
from tests.orthanc.server import missing, orthanc
from workers.measurements import measure_segments

DCIODVFY = shutil.which("dciodvfy")
NOTE = "note"
KINDS = (*ENCODERS, NOTE)

# pydicom says aloud what it thinks of such character sets, whenever their text is looked at.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")

GREEK, HEBREW, ARABIC = b"\xc4\xe9\xef\xed\xf5\xf3\xe9\xef\xf2", b"\xf9\xf8\xe5\xef", b"\xe2\xc8\xc7\xe6\xea"
KANJI, KANA = b"\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B", b"\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B"
SAMPLES: dict[str, tuple[bytes, bytes]] = {
    "Latin-1": (b"ISO_IR 100", b"\xc4neas^R\xfcdiger"),
    "Latin-2": (b"ISO_IR 101", b"Wa\xb3\xeasa^Stanis\xb3aw"),
    "Latin-3": (b"ISO_IR 109", b"\xc6uc\xe6ieri^\xddan"),
    "Latin-4": (b"ISO_IR 110", b"B\xe7rzi\xf2\xf0^J\xe0nis"),
    "Cyrillic": (b"ISO_IR 144", b"\xbb\xee\xdace\xdc\xd1yp\xd3"),
    "Arabic": (b"ISO_IR 127", ARABIC + b"^\xe4\xe6\xd2\xc7\xd1"),
    "Greek": (b"ISO_IR 126", GREEK),
    "Hebrew": (b"ISO_IR 138", HEBREW + b"^\xe3\xe1\xe5\xf8\xe4"),
    "Latin-5": (b"ISO_IR 148", b"\xc7a\xf0lar^\xdd\xfeil"),
    "Thai": (b"ISO_IR 166", b"\xca\xc1\xaa\xd2\xc2^\xe3\xa8\xb4\xd5"),
    "Latin-9": (b"ISO_IR 203", b"\xbcuvre^\xbe\xa4"),
    "half-width katakana": (b"ISO_IR 13", b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3"),
    "kanji": (b"\\ISO 2022 IR 87", b"Yamada^Tarou=" + KANJI + b"=" + KANA),
    "kanji, first set named": (b"ISO 2022 IR 6\\ISO 2022 IR 87", b"Yamada^Tarou=" + KANJI + b"=" + KANA),
    "kanji after katakana": (
        b"ISO 2022 IR 13\\ISO 2022 IR 87",
        b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3=" + KANJI.replace(b"(B", b"(J") + b"=" + KANA.replace(b"(B", b"(J"),
    ),
    "supplementary kanji": (b"\\ISO 2022 IR 87\\ISO 2022 IR 159", b'Kataoka=\x1b$BJR2,\x1b(B^\x1b$(D0!0"\x1b(B'),
    "hangul": (b"\\ISO 2022 IR 149", b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab"),
    "GB 2312": (b"\\ISO 2022 IR 58", b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab="),
    "Latin and Greek": (b"ISO 2022 IR 100\\ISO 2022 IR 126", b"M\xfcller=\x1b-F" + GREEK),
    "UTF-8": (b"ISO_IR 192", "Wang^XiaoDong=王^小東=".encode()),
    "UTF-8 beyond the first plane": (b"ISO_IR 192", "Li=𠮷田^🙂".encode()),
    "GB18030": (b"GB18030", "Wang^XiaoDong=王^小东=".encode("gb18030")),
    "GBK": (b"GBK", "Wang^XiaoDong=王^小东=".encode("gbk")),
    "none": (b"", b"Plain^Name"),
    # What is declared wrongly, as it comes from the field.
    "Latin-1 said to be UTF-8": (b"ISO_IR 192", b"M\xfcller^J\xf6rg=\xa4\xff"),
    "Latin-1 said to be nothing": (b"", b"M\xfcller^J\xf6rg"),
    "Latin-1 said to be kanji": (b"ISO 2022 IR 6\\ISO 2022 IR 87", b"M\xfcller^J\xf6rg"),
    "Shift JIS said to be kanji": (b"\\ISO 2022 IR 87", b"\x8eR\x93c^\x91\xbe\x98Y=\x83\x5c\x94\x5c"),
    "UTF-8 said to be Latin-1": (b"ISO_IR 100", "Müller^Jörg".encode()),
    "no such set": (b"NO SUCH SET", b"M\xfcller^J\xf6rg"),
    "an escape that nothing ends": (b"\\ISO 2022 IR 87", b"Yamada=\x1b$B;3"),
    "UTF-8 beside another": (b"ISO_IR 192\\ISO 2022 IR 87", "Yamada=山田".encode()),
}


def text(keyword: str, value: bytes) -> RawDataElement:
    tag = Tag(keyword)
    value += b" " * (len(value) % 2)
    return RawDataElement(tag, made.vr_of(tag), len(value), value, 0, False, True)


def named(declared: bytes, name: bytes) -> list[RawDataElement]:
    """The elements of a header with this name wherever text may stand; short enough for each VR."""
    plain = name.split(b"=")[0].replace(b"^", b" ")
    return [
        text("SpecificCharacterSet", declared),
        text("ReferringPhysicianName", name),
        text("StudyDescription", plain),
        text("PatientName", name),
        text("PatientComments", plain + b" " + plain),
        text("AdditionalPatientHistory", plain),
    ]


def source_of(folder: Path, elements: list[RawDataElement]) -> Volume:
    """Write a series with pixels and put these elements, to the byte, into each of its files."""

    def fill(image: Dataset) -> None:
        image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
        image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 12, 11, 0
        image.ImageType, image.ScanningSequence, image.SequenceVariant = ["ORIGINAL", "PRIMARY"], "SE", "SK"
        random = np.random.default_rng(int(image.InstanceNumber))
        image.PixelData = random.integers(0, 4096, (image.Rows, image.Columns), np.uint16).tobytes()

    folder.mkdir()
    for frame in made.classic(folder, made.AXIAL, fill).frames:
        made.graft(frame.path, elements)
    (volume,) = find_volumes(read_headers(sorted(folder.iterdir()))).volumes
    return volume


def objects(volume: Volume, folder: Path, kinds: Iterable[str] = KINDS) -> dict[str, Path]:
    """A file of each kind of object that we make of a series, the Segmentation among them."""
    label_map = made.label_map(volume, 1, 2)
    measured = measure_segments(label_map, read_voxels(volume))
    finished = Finished(label_map, volume, made.identity(), measured)
    paths = {kind: folder / f"{kind}.dcm" for kind in ("seg", *kinds)}
    seg = ENCODERS["seg"](finished, ())
    dcmwrite(paths["seg"], seg)
    for kind in paths.keys() - {"seg", NOTE}:
        dcmwrite(paths[kind], ENCODERS[kind](finished, [seg] if kind == "sr" else ()))
    if NOTE in paths:
        dcmwrite(paths[NOTE], encode_rejection(rejection_of(paths["seg"])))
    return paths


def rejection_of(path: Path) -> Rejection:
    seg = dcmread(path, specific_tags=["SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID"])
    rejected = Rejected(Reference(str(seg.SOPClassUID), str(seg.SOPInstanceUID)), str(seg.SeriesInstanceUID))
    at = datetime(2026, 11, 20, 9, 30, 15)  # noqa: DTZ001 -- site time, as DICOM has it
    return Rejection("job", next(iter(Title)), "", at, (rejected,), path)


def in_file(element: RawDataElement) -> bytes:
    """An element of a short VR as it stands in an Explicit VR Little Endian file."""
    value = bytes(element.value or b"")
    value += b" " * (len(value) % 2)
    vr = str(element.VR or made.vr_of(element.tag)).encode()
    tag, length = struct.pack("<HH", element.tag.group, element.tag.element), struct.pack("<H", len(value))
    return tag + vr + length + value


def check_copied(volume: Volume, paths: dict[str, Path], held: list[RawDataElement]) -> None:
    """Byte for byte in the file, and the same to who reads it; `held` are of short VRs."""
    source = dcmread(volume.frames[0].path)
    for kind, path in paths.items():
        content, read = path.read_bytes(), dcmread(path)
        for element in held:
            assert in_file(element) in content, f"{kind}: {element.tag}"
        for keyword in ("PatientName", "ReferringPhysicianName", "StudyDescription", "PatientComments"):
            assert read.get(keyword) == source.get(keyword), f"{kind}: {keyword}"
        assert read.get("SpecificCharacterSet") == source.get("SpecificCharacterSet"), kind


def errors(path: Path) -> set[str]:
    """What dciodvfy finds wrong with a file; of a SOP Class that it does not know, with its elements alone."""
    command = [str(DCIODVFY), "-new", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    lines = (done.stdout + done.stderr).splitlines()
    return {line for line in lines if line.startswith("Error")} - {"Error - Information Object Not found"}


@pytest.mark.parametrize("sample", SAMPLES)
def test_a_name_in_any_character_set_is_the_same_bytes_in_every_object(tmp_path: Path, sample: str) -> None:
    held = named(*SAMPLES[sample])
    volume = source_of(tmp_path / "source", held)
    paths = objects(volume, tmp_path)
    assert set(paths) >= set(ENCODERS)
    check_copied(volume, paths, held)
    if DCIODVFY is not None:
        of_the_text = ("character repertoire", "SpecificCharacterSet", "Value Multiplicity")
        in_source = errors(volume.frames[0].path)
        allowed = {line for line in in_source if any(words in line for words in of_the_text)}
        for kind, path in paths.items():
            assert errors(path) <= allowed, kind


def sample_files() -> list[Path]:
    files = sorted((real_data.ROOT / "charset" / "pydicom_charsets").glob("*.dcm"))
    return [path for path in files if "SQEncoding" not in path.stem]  # these two have names in sequences only


@real_data.needed
@pytest.mark.parametrize("sample", sample_files(), ids=lambda path: path.stem)
def test_patient_and_study_of_the_sample_files_are_copied_byte_for_byte(tmp_path: Path, sample: Path) -> None:
    given: Any = dcmread(sample, stop_before_pixels=True, force=True)
    declared = given["SpecificCharacterSet"].value  # the one element that pydicom has read already
    declared = declared if isinstance(declared, str) else "\\".join(declared)
    held = [text("SpecificCharacterSet", declared.encode())]
    for keyword in PATIENT_AND_STUDY:
        element = given.get_item(keyword)
        if isinstance(element, RawDataElement) and element.VR != "SQ":
            held.append(element)
    assert any(element.tag == Tag("PatientName") for element in held)
    volume = source_of(tmp_path / "source", held)
    check_copied(volume, objects(volume, tmp_path, ("text", NOTE)), held)


def test_a_sequence_with_a_character_set_of_its_own_keeps_it(tmp_path: Path) -> None:
    """PS3.3 C.12.1.1.2: an item may declare another character set than the data set that it is in."""
    volume = source_of(tmp_path / "source", named(*SAMPLES["kanji"]))
    for frame in volume.frames:
        image = dcmread(frame.path)
        item = Dataset()
        item.SpecificCharacterSet, item.InstitutionName = "ISO_IR 192", "Krankenhaus Köln"
        code = Dataset()
        code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "1", "99LOCAL", "Physician"
        item.PersonIdentificationCodeSequence = [code]
        image.ReferringPhysicianIdentificationSequence = [item]
        dcmwrite(frame.path, image)
    for kind, path in objects(volume, tmp_path).items():
        read = dcmread(path)
        assert read.ReferringPhysicianIdentificationSequence[0].InstitutionName == "Krankenhaus Köln", kind
        assert str(read.PatientName) == "Yamada^Tarou=山田^太郎=やまだ^たろう", kind


@needs_dcmtk
@pytest.mark.skipif(bool(missing()), reason=f"not installed: {missing()}")
@pytest.mark.parametrize("sample", ["kanji after katakana", "hangul"])
def test_a_name_goes_through_the_network_and_an_archive_unchanged(tmp_path: Path, sample: str) -> None:
    """From the scanner by C-STORE, to the objects, by C-STORE into Orthanc, and back."""
    held = named(*SAMPLES[sample])
    sent = source_of(tmp_path / "source", held)
    with receiving(tmp_path / "received") as receiver:
        done = storescu(receiver.node, "+sd", tmp_path / "source")
        assert done.returncode == 0, done.stderr
        (volume,) = find_volumes(read_headers([each.path for each in receiver.heard])).volumes
    assert volume.series_uid == sent.series_uid
    paths = objects(volume, tmp_path)
    with orthanc(tmp_path / "orthanc") as archive:
        outcomes = store(archive.node, "SAGITTAL", list(paths.values()), 30)
        assert len(outcomes) == len(paths)
        for instance in archive.get("instances"):
            content = archive.get_bytes(f"instances/{instance}/file")
            for element in held:
                assert in_file(element) in content
        assert len(archive.get("instances")) == len(paths)
