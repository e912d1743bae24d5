"""The tricky series and the truth beside each, by hand: volumes, kinds, and the route or the reason of refusal."""

from collections.abc import Callable
from dataclasses import dataclass

from pydicom.dataset import Dataset

from dicom_nodes.errors import Rule
from dicom_nodes.types import Plane
from tests.tricky_series import (
    ABDOMEN,
    CORONAL,
    KNEE,
    NECK,
    PD_TSE,
    PHILIPS,
    PRONE,
    PROSTATE,
    SAGITTAL,
    SIEMENS,
    T2_TSE,
    VIBE,
    adc_beside_diffusion,
    cine_of_a_heart,
    concatenation,
    dual_echo_knee,
    grid,
    knee_without_one_slice,
    legacy_converted,
    made_of,
    one_frame_in_each_object,
    philips_classic_with_field_map,
    philips_enhanced_with_field_map,
    philips_mdixon,
    radial_mrcp,
    rows_that_turn,
    screen_save,
    thick_three_plane_localizer,
    three_phases_of_a_liver,
    twist_over_many_series,
    united_imaging_grid,
)


@dataclass(frozen=True)
class Case:
    """A series and its truth."""

    what: str
    make: Callable[[], list[Dataset]]
    volumes: tuple[tuple[int, Plane], ...] = ()
    """Slices and plane of each volume."""
    refused: tuple[Rule, ...] = ()
    route: str = ""
    """As "knee R" for every volume, or several joined by " | "; empty: none may go anywhere."""
    said: tuple[str, ...] = ()
    """Words of which one must stand in the reason."""
    kinds: tuple[str, ...] = ()
    """For each volume one of the words joined by " | "; empty: not asked."""


AX, SAG, COR = Plane.AXIAL, Plane.SAGITTAL, Plane.CORONAL
CASES = [
    Case(
        "TWIST over twelve series",
        twist_over_many_series,
        ((36, AX),) * 12,
        said=("angiography", "subtraction", "dynamic"),
        kinds=("angiography | perfusion or dynamic map | subtraction",) * 12,
    ),
    Case(
        "three contrast phases in one series",
        three_phases_of_a_liver,
        ((36, AX),) * 3,
        route="abdomen",
        kinds=("post-contrast",) * 3,
    ),
    Case(
        "Philips Enhanced with magnitude and field map",
        philips_enhanced_with_field_map,
        ((36, AX),) * 2,
        said=("map", "field"),
        kinds=("phase, field or parameter map | calibration or reference scan",) * 2,
    ),
    Case(
        "Philips classic with magnitude and field map",
        philips_classic_with_field_map,
        ((36, AX),) * 2,
        said=("map", "field"),
        kinds=("phase, field or parameter map | calibration or reference scan",) * 2,
    ),
    Case("Philips mDIXON in one series", philips_mdixon, ((36, AX),) * 4, route="abdomen"),
    Case(
        "ADC beside b 0 and b 800",
        adc_beside_diffusion,
        ((20, AX),) * 3,
        said=("diffusion",),
        kinds=("diffusion image | diffusion map",) * 3,
    ),
    Case("dual-echo knee", dual_echo_knee, ((24, SAG),) * 2, route="knee R", kinds=("PD", "T2")),
    Case(
        "LSPINE on a cervical spine",
        made_of(
            NECK, "t2_tse_sag_HWS", SIEMENS, T2_TSE, BodyPartExamined="LSPINE", StudyDescription="MR HWS nativ"
        ),
        ((15, SAG),),
        said=("lumbar",),
    ),
    Case(
        "LSPINE on a cervical spine, said in the study alone",
        made_of(
            NECK,
            "t2_tse_sag",
            SIEMENS,
            T2_TSE,
            BodyPartExamined="LSPINE",
            StudyDescription="MRI CERVICAL SPINE W/O",
        ),
        ((15, SAG),),
        said=("lumbar",),
    ),
    Case(
        "head first prone",
        made_of(
            grid(36, 6.0, 380, PRONE),
            "t2_haste_tra",
            SIEMENS,
            T2_TSE,
            BodyPartExamined="ABDOMEN",
            PatientPosition="HFP",
        ),
        ((36, AX),),
        route="abdomen",
    ),
    Case(
        "feet first, decubitus left",
        made_of(
            grid(17, 4.4, 300, SAGITTAL),
            "t2_tse_sag",
            SIEMENS,
            T2_TSE,
            BodyPartExamined="LSPINE",
            PatientPosition="FFDL",
        ),
        ((17, SAG),),
        route="lumbar",
    ),
    Case("one slice is missing", knee_without_one_slice, refused=(Rule.SPACING,), said=("missing",)),
    Case(
        "rows that turn in the plane",
        rows_that_turn,
        refused=(Rule.ROTATED,),
        said=("row", "rotat", "turn", "in-plane"),
    ),
    Case("radial MRCP", radial_mrcp, refused=(Rule.ROTATED,)),
    Case("UIH tiles", united_imaging_grid, refused=(Rule.MOSAIC,)),
    Case("screen saves of a knee", screen_save, refused=(Rule.SOP_CLASS, Rule.MODALITY)),
    Case(
        "no Manufacturer",
        made_of(PROSTATE, "t2_tse_tra", T2_TSE, Manufacturer=None, BodyPartExamined="PROSTATE"),
        ((20, AX),),
        route="prostate",
    ),
    Case(
        "a dog",
        made_of(
            KNEE,
            "t2_tse_sag",
            SIEMENS,
            T2_TSE,
            BodyPartExamined="KNEE",
            PatientSpeciesDescription="Canine",
            StudyDescription="stifle left",
        ),
        ((24, SAG),),
        said=("animal",),
        kinds=("animal",),
    ),
    Case(
        "a quality control image",
        made_of(ABDOMEN, "t2_tse_tra", SIEMENS, T2_TSE, BodyPartExamined="ABDOMEN", QualityControlImage="YES"),
        ((36, AX),),
        said=("phantom",),
        kinds=("phantom",),
    ),
    Case(
        "a phantom by its name",
        made_of(
            ABDOMEN, "t1_vibe_tra", SIEMENS, VIBE, BodyPartExamined="ABDOMEN", PatientName="PHANTOM^ACR Weekly"
        ),
        ((36, AX),),
        said=("phantom",),
        kinds=("phantom",),
    ),
    Case(
        "a patient whose name only sounds so",
        made_of(
            KNEE,
            "pd_tse_fs_sag",
            SIEMENS,
            PD_TSE,
            BodyPartExamined="KNEE",
            PatientName="Phan^Quan",
            StudyDescription="MR Knie links",
        ),
        ((24, SAG),),
        route="knee L",
    ),
    Case(
        "a 500 mm field called knee",
        made_of(grid(24, 6.0, 500, SAGITTAL), "t2_tse_sag", SIEMENS, T2_TSE, BodyPartExamined="KNEE"),
        ((24, SAG),),
        said=("500 mm",),
    ),
    Case(
        "right and left",
        made_of(
            KNEE,
            "pd_tse_sag",
            SIEMENS,
            PD_TSE,
            BodyPartExamined="KNEE",
            Laterality="R",
            StudyDescription="MR Knie links",
        ),
        ((24, SAG),),
        said=("side",),
    ),
    Case(
        "b 0 that a scanner writes into everything",
        made_of(
            ABDOMEN,
            "T2W_SSh_TRA",
            PHILIPS,
            T2_TSE,
            DiffusionBValue=0.0,
            ImageType=["ORIGINAL", "PRIMARY", "M_SE", "M", "SE"],
            BodyPartExamined="ABDOMEN",
        ),
        ((36, AX),),
        route="abdomen",
        kinds=("T2",),
    ),
    Case(
        "a survey by its name alone",
        made_of(
            grid(20, 10, 450, CORONAL),
            "Survey",
            PHILIPS,
            VIBE,
            BodyPartExamined="PELVIS",
            ImageType=["ORIGINAL", "PRIMARY", "M_FFE", "M", "FFE"],
        ),
        ((20, COR),),
        said=("localizer",),
        kinds=("localizer",),
    ),
    Case(
        "one frame in each Enhanced object", one_frame_in_each_object, ((24, SAG),), route="knee L", kinds=("PD",)
    ),
    Case("one volume over two Enhanced objects", concatenation, ((24, SAG),), route="knee L", kinds=("PD",)),
    Case("Legacy Converted Enhanced MR", legacy_converted, ((24, SAG),), route="knee L"),
    Case(
        "a knee in Japanese",
        made_of(
            KNEE,
            "PD SAG",
            PD_TSE,
            Manufacturer="CANON_MEC",
            BodyPartExamined="",
            SpecificCharacterSet=["", "ISO 2022 IR 87"],
            StudyDescription="MRI 膝関節 左",
        ),
        ((24, SAG),),
        route="knee L",
    ),
    Case(
        "a cine of a heart",
        cine_of_a_heart,
        ((8, AX),) * 15,
        said=("heart", "moving"),
        kinds=("spectroscopy or moving images | anatomy",) * 15,
    ),
    Case(
        "a localizer with many slices in each plane",
        thick_three_plane_localizer,
        ((15, AX), (15, SAG), (15, COR)),
        said=("localizer",),
        kinds=("localizer",) * 3,
    ),
    Case(
        "a spine composed of three stations",
        made_of(
            grid(15, 4.4, 900, SAGITTAL),
            "t2_tse_sag_COMPOSED",
            T2_TSE,
            SIEMENS,
            BodyPartExamined="SPINE",
            StudyDescription="MR Wirbelsäule gesamt",
            ImageType=["DERIVED", "PRIMARY", "M", "NORM", "COMPOSED"],
        ),
        ((15, SAG),),
        route="whole spine | spine | ",
    ),
    Case(
        "a field of 900 mm called LSPINE",
        made_of(grid(15, 4.4, 900, SAGITTAL), "t2_tse_sag", T2_TSE, SIEMENS, BodyPartExamined="LSPINE"),
        ((15, SAG),),
        said=("900 mm",),
    ),
]
