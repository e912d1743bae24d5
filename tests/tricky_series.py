"""Series as scanners really send them, built in code, that the real data have no example of."""

from collections.abc import Callable, Iterable, Mapping

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import SecondaryCaptureImageStorage, generate_uid

from tests.factories import Grid, classic_series, classic_slice, enhanced, frame_at, item

AXIAL, PRONE = (1, 0, 0, 0, 1, 0), (-1, 0, 0, 0, -1, 0)
SAGITTAL, CORONAL = (0, 1, 0, 0, 0, -1), (1, 0, 0, 0, 0, -1)


def grid(slices: int, pitch_mm: float, field_mm: float, orientation: tuple[float, ...]) -> Grid:
    """A stack of slices about the scanner's middle, as an examination is planned; its pixels are coarse."""
    pixels = 16
    made = Grid((slices, pixels, pixels), (pitch_mm, field_mm / pixels, field_mm / pixels), orientation, (0, 0, 0))
    middle = made.affine @ [(pixels - 1) / 2, (pixels - 1) / 2, (slices - 1) / 2, 1]
    x, y, z = (-float(each) for each in middle[:3])
    return Grid(made.shape, made.spacing_mm, orientation, (x, y, z))


ABDOMEN = grid(36, 6.0, 380, AXIAL)
PROSTATE = grid(20, 3.0, 200, AXIAL)
KNEE = grid(24, 3.6, 160, SAGITTAL)
NECK = grid(15, 3.3, 240, SAGITTAL)

T2_TSE: Mapping[str, object] = {
    "ScanningSequence": "SE",
    "SequenceVariant": "SK",
    "EchoTime": 101,
    "RepetitionTime": 4300,
    "EchoTrainLength": 21,
}
VIBE: Mapping[str, object] = {
    "ScanningSequence": "GR",
    "SequenceVariant": "SP",
    "EchoTime": 1.3,
    "RepetitionTime": 3.9,
    "FlipAngle": 9,
    "MRAcquisitionType": "3D",
}
PD_TSE: Mapping[str, object] = {**T2_TSE, "EchoTime": 33, "RepetitionTime": 3200, "EchoTrainLength": 8}
SIEMENS: Mapping[str, object] = {
    "Manufacturer": "SIEMENS",
    "ManufacturerModelName": "Aera",
    "ImageType": ["ORIGINAL", "PRIMARY", "M", "NORM", "DIS2D"],
}
GE: Mapping[str, object] = {
    "Manufacturer": "GE MEDICAL SYSTEMS",
    "ManufacturerModelName": "SIGNA Artist",
    "ImageType": ["ORIGINAL", "PRIMARY", "OTHER"],
}
PHILIPS: Mapping[str, object] = {"Manufacturer": "Philips Medical Systems", "ManufacturerModelName": "Ingenia"}
PATIENT: Mapping[str, object] = {"PatientName": "Muster^Eva", "PatientID": "4711"}


def described_as(text: str, **attributes: object) -> dict[str, object]:
    """ProtocolName and SeriesDescription alike, as most scanners write them."""
    return {**PATIENT, "ProtocolName": text, "SeriesDescription": text, **attributes}


# ── angiography and dynamics ───────────────────────────────────────────────────────────────────────────────────


def twist_over_many_series() -> list[Dataset]:
    """Siemens TWIST: each time point is a series of its own, and so is each subtraction and its projection."""
    study = {
        "StudyInstanceUID": generate_uid(),
        "FrameOfReferenceUID": generate_uid(),
        "BodyPartExamined": "ABDOMEN",
    }
    made: list[Dataset] = []
    for time in range(6):
        name = f"TWIST_tra_dyn_TT={time * 4.2:.1f}s"
        plain = {**described_as(name), **SIEMENS, **VIBE, "SequenceName": "*fl3d1"}
        made += classic_series(ABDOMEN, **{**plain, **study, "AcquisitionNumber": time + 1})
        subtracted = {
            **plain,
            "SeriesDescription": f"{name}_SUB",
            "ImageType": ["DERIVED", "PRIMARY", "M", "SUB", "DIS2D"],
        }
        made += classic_series(ABDOMEN, **{**subtracted, **study})
    return made


def three_phases_of_a_liver() -> list[Dataset]:
    """GE LAVA, arterial, portal and late phase in one series, told by TemporalPositionIdentifier."""
    same = {
        **described_as("Ax LAVA +C 3 phases"),
        **GE,
        **VIBE,
        "BodyPartExamined": "ABDOMEN",
        "NumberOfTemporalPositions": 3,
        "StudyDescription": "MRI LIVER W/WO CONTRAST",
        "ContrastBolusAgent": "Gadovist",
    }
    return in_one_series({**same, "TemporalPositionIdentifier": phase} for phase in (1, 2, 3))


def in_one_series(volumes: Iterable[Mapping[str, object]], shape: Grid = ABDOMEN) -> list[Dataset]:
    """Several volumes at one place, with one SeriesInstanceUID."""
    uids = {key: generate_uid() for key in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")}
    made = [each for volume in volumes for each in classic_series(shape, **{**volume, **uids})]
    for number, dataset in enumerate(made, start=1):
        dataset.InstanceNumber = number
    return made


# ── several kinds of image in one series ───────────────────────────────────────────────────────────────────────


def philips_enhanced_with_field_map() -> list[Dataset]:
    """Philips Enhanced: the magnitude frames and the B0 map of one field mapping in one object."""
    frames = []
    for kind, component in (
        (["ORIGINAL", "PRIMARY", "T1", "M"], "MAGNITUDE"),
        (["ORIGINAL", "PRIMARY", "B0 MAP", "B0"], "MIXED"),
    ):
        told = item(FrameType=kind, ComplexImageComponent=component, AcquisitionContrast="T1")
        frames += [
            frame_at(
                ABDOMEN.position(z), MRImageFrameTypeSequence=[told], MREchoSequence=[item(EffectiveEchoTime=2.3)]
            )
            for z in range(ABDOMEN.shape[0])
        ]
    dataset = enhanced(
        ABDOMEN,
        **{**described_as("B0map_liver"), **PHILIPS},
        BodyPartExamined="ABDOMEN",
        ComplexImageComponent="MIXED",
        NumberOfFrames=len(frames),
        PerFrameFunctionalGroupsSequence=frames,
    )
    dataset.PixelData = dataset.PixelData * 2
    return [dataset]


def philips_classic_with_field_map() -> list[Dataset]:
    """The same as single images, as release 5 names them: ORIGINAL\\PRIMARY\\B0 MAP\\B0\\UNSPECIFIED."""
    same = {**described_as("B0map_liver"), **PHILIPS, **VIBE, "BodyPartExamined": "ABDOMEN"}
    kinds = (["ORIGINAL", "PRIMARY", "M_FFE", "M", "FFE"], ["ORIGINAL", "PRIMARY", "B0 MAP", "B0", "UNSPECIFIED"])
    return in_one_series({**same, "ImageType": kind} for kind in kinds)


def philips_mdixon() -> list[Dataset]:
    """Philips mDIXON: water, fat, in and opposed phase in one series, told by ImageType alone."""
    same = {
        **described_as("mDIXON_tra_BH"),
        **PHILIPS,
        **VIBE,
        "BodyPartExamined": "ABDOMEN",
        "StudyDescription": "MRI lever",
    }
    return in_one_series(
        {**same, "ImageType": ["ORIGINAL", "PRIMARY", part, part, "FFE"]} for part in ("W", "F", "IP", "OP")
    )


def adc_beside_diffusion() -> list[Dataset]:
    """b 0, b 800 and the ADC map in one series of a prostate, as Philips consoles can be set to store them."""
    same = {**described_as("DWI_3b_prostate"), **PHILIPS, "BodyPartExamined": "PROSTATE", "ScanningSequence": "SE"}
    weighted = [
        {**same, "ImageType": ["ORIGINAL", "PRIMARY", "M_SE", "M", "SE"], "DiffusionBValue": b}
        for b in (0.0, 800.0)
    ]
    adc = {**same, "ImageType": ["DERIVED", "PRIMARY", "ADC", "ADC", "UNSPECIFIED"]}
    return in_one_series([*weighted, adc], PROSTATE)


def dual_echo_knee() -> list[Dataset]:
    """GE PD and T2 of one dual-echo FSE in one series, feet first, with the side in Laterality."""
    same = {
        **described_as("Sag PD/T2 FSE"),
        **GE,
        **T2_TSE,
        "BodyPartExamined": "KNEE",
        "Laterality": "R",
        "PatientPosition": "FFS",
    }
    return in_one_series(
        ({**same, "EchoTime": te, "EchoNumbers": number} for number, te in ((1, 15.0), (2, 90.0))), KNEE
    )


# ── geometry ───────────────────────────────────────────────────────────────────────────────────────────────────


def knee_without_one_slice() -> list[Dataset]:
    slices = classic_series(
        KNEE, **{**described_as("pd_tse_fs_sag"), **SIEMENS, **PD_TSE, "BodyPartExamined": "KNEE"}
    )
    return slices[:11] + slices[12:]


def rows_that_turn() -> list[Dataset]:
    """Parallel slices whose rows turn from slice to slice about one normal: no grid of voxels."""
    made = []
    uids = {key: generate_uid() for key in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")}
    for z in range(KNEE.shape[0]):
        turn = np.radians(7.5 * z)
        rows = (0.0, float(np.cos(turn)), float(-np.sin(turn)), 0.0, float(-np.sin(turn)), float(-np.cos(turn)))
        turned = Grid(KNEE.shape, KNEE.spacing_mm, rows, KNEE.origin)
        made.append(
            classic_slice(turned, z, **described_as("pd_blade_sag"), **SIEMENS, BodyPartExamined="KNEE", **uids)
        )
    return made


def radial_mrcp() -> list[Dataset]:
    """Twelve thick slabs that turn about the head-foot axis through the bile duct."""
    made = []
    uids = {key: generate_uid() for key in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")}
    for slab in range(12):
        turn = np.radians(15 * slab)
        turned = grid(1, 40, 300, (float(np.cos(turn)), float(np.sin(turn)), 0.0, 0.0, 0.0, -1.0))
        words = described_as("t2_haste_thick slab_rad_MRCP", BodyPartExamined="ABDOMEN", InstanceNumber=slab + 1)
        made.append(classic_slice(turned, 0, **{**words, **SIEMENS, **uids}))
    return made


def united_imaging_grid() -> list[Dataset]:
    """UIH VFRAME: all slices of a time point as tiles of one image."""
    words = described_as("epi_bold_tra", BodyPartExamined="ABDOMEN", Manufacturer="UIH")
    return classic_series(grid(4, 6, 380, AXIAL), **words, ImageType=["ORIGINAL", "PRIMARY", "M", "VFRAME"])


def one_frame_in_each_object() -> list[Dataset]:
    """Siemens XA, exported as Enhanced objects of one frame each; side and region stand in the frames' anatomy."""
    return [_knee_object([z]) for z in range(KNEE.shape[0])]


def concatenation() -> list[Dataset]:
    """One volume over two Enhanced objects, as a concatenation parts it."""
    half = KNEE.shape[0] // 2
    return [_knee_object(range(half)), _knee_object(range(half, KNEE.shape[0]))]


def _knee_object(slices: Iterable[int]) -> Dataset:
    """Some slices of one Enhanced series of a left knee; the series does not say so outside of its frames."""
    knee = [item(CodeValue="72696002", CodingSchemeDesignator="SCT", CodeMeaning="Knee")]
    frames = [
        frame_at(
            KNEE.position(z),
            FrameAnatomySequence=[item(FrameLaterality="L", AnatomicRegionSequence=knee)],
            MREchoSequence=[item(EffectiveEchoTime=33.0)],
        )
        for z in slices
    ]
    shape = Grid((len(frames), *KNEE.shape[1:]), KNEE.spacing_mm, KNEE.orientation, KNEE.origin)
    uids = {
        "StudyInstanceUID": "1.2.826.1",
        "SeriesInstanceUID": "1.2.826.1.1",
        "FrameOfReferenceUID": "1.2.826.1.2",
    }
    return enhanced(
        shape,
        **{**described_as("pd_tse_sag"), **uids},
        Manufacturer="Siemens Healthineers",
        ImageType=["ORIGINAL", "PRIMARY", "PROTON_DENSITY", "NONE"],
        NumberOfFrames=len(frames),
        PerFrameFunctionalGroupsSequence=frames,
    )


def legacy_converted() -> list[Dataset]:
    words = described_as("Sag PD FSE", BodyPartExamined="KNEE", StudyDescription="MRI KNEE LT WO CONTRAST")
    return [enhanced(KNEE, legacy=True, **words)]


def cine_of_a_heart() -> list[Dataset]:
    """Siemens balanced cine: 15 trigger times at eight positions."""
    same = {
        **described_as("cine_sax_trufi"),
        **SIEMENS,
        "BodyPartExamined": "HEART",
        "SequenceName": "*tfi2d1_15",
        "ScanningSequence": "GR",
        "CardiacNumberOfImages": 15,
        "StudyDescription": "MR Herz",
    }
    return in_one_series(({**same, "TriggerTime": 40.0 * time} for time in range(15)), grid(8, 10, 340, AXIAL))


def thick_three_plane_localizer() -> list[Dataset]:
    """GE's default localizer, "3-pl T2* FGRE", with so many slices in each plane that each is a stack."""
    uids = {key: generate_uid() for key in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")}
    words = {**described_as("3-pl T2* FGRE"), **GE, **VIBE, "BodyPartExamined": "LSPINE", "ProtocolName": "L-SPINE"}
    planes = (AXIAL, SAGITTAL, CORONAL)
    return [each for plane in planes for each in classic_series(grid(15, 10, 400, plane), **{**words, **uids})]


def screen_save() -> list[Dataset]:
    words = described_as("Screen Save", BodyPartExamined="KNEE", StudyDescription="MR Knie rechts")
    return classic_series(KNEE, **{**words, **GE, "SOPClassUID": SecondaryCaptureImageStorage})


def made_of(
    shape: Grid, text: str, *layers: Mapping[str, object], **attributes: object
) -> Callable[[], list[Dataset]]:
    """One plain series."""
    merged: dict[str, object] = {}
    for layer in (described_as(text), *layers, attributes):
        merged |= layer
    return lambda: classic_series(shape, **merged)
