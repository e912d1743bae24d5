"""One series about to be written → the attributes of one Enhanced MR image: what it shares, and frame by frame."""

import datetime
from typing import Any

from pydicom.dataset import Dataset
from pydicom.tag import Tag

from service.phantom.headers import (
    Plan,
    anatomic_region,
    decimals,
    derive_uid,
    fill,
    item,
    orientation,
    pixel_spacing,
    position,
)
from service.phantom.vendors import Vendor, acquisition_contrast, image_type

SECONDS_PER_SLICE = 4


def add_enhanced(plan: Plan, dataset: Dataset) -> None:
    """Turn the common attributes into those of Enhanced MR Image Storage (PS3.3 A.36.2), without pixel data."""
    side = dataset.get("Laterality")
    if "Laterality" in dataset:
        del dataset.Laterality  # stands in Frame Anatomy instead
    for group in (_image(plan), _frame_kind(plan), _pulse_sequence(plan), _dimensions(plan)):
        fill(dataset, group)
    dataset.SharedFunctionalGroupsSequence = [_shared(plan, side)]
    dataset.PerFrameFunctionalGroupsSequence = [_frame(plan, number) for number in range(1, len(plan.pixels) + 1)]


def _image(plan: Plan) -> dict[str, Any]:
    duration = float(SECONDS_PER_SLICE * len(plan.pixels))
    return {
        "ImageType": image_type(plan.vendor, plan.pulse, enhanced=True),
        "InstanceNumber": 1,
        "NumberOfFrames": len(plan.pixels),
        "AcquisitionDateTime": plan.started.strftime("%Y%m%d%H%M%S.%f"),
        "AcquisitionDuration": duration,
        "ContentTime": plan.started.strftime("%H%M%S.%f"),
        "ContentQualification": "PRODUCT",
        "ResonantNucleus": "1H",
        "KSpaceFiltering": "NONE",
        "ApplicableSafetyStandardAgency": "IEC",
        "PresentationLUTShape": "IDENTITY",
        "AcquisitionContextSequence": [],
    }


def _frame_kind(plan: Plan) -> dict[str, str]:
    return {
        "PixelPresentation": "MONOCHROME",
        "VolumetricProperties": "VOLUME",
        "VolumeBasedCalculationTechnique": "NONE",
        "ComplexImageComponent": "MAGNITUDE",
        "AcquisitionContrast": acquisition_contrast(plan.pulse),
    }


def _pulse_sequence(plan: Plan) -> dict[str, Any]:
    gradient = plan.pulse.family == "fl"
    spin_only = {} if gradient else {"MultipleSpinEcho": "NO"}
    return spin_only | {
        "PulseSequenceName": plan.pulse.sequence_name
        if plan.vendor is Vendor.SIEMENS
        else "FFE"
        if gradient
        else "TSE",
        "MRAcquisitionType": "2D",
        "EchoPulseSequence": "GRADIENT" if gradient else "SPIN",
        "MultiPlanarExcitation": "NO",
        "PhaseContrast": "NO",
        "TimeOfFlightContrast": "NO",
        "SteadyStatePulseSequence": "NONE",
        "EchoPlanarPulseSequence": "NO",
        "SaturationRecovery": "NO",
        "SpectrallySelectedSuppression": "FAT"
        if plan.pulse.fat_suppressed and not plan.pulse.inversion
        else "NONE",
        "OversamplingPhase": "NONE",
        "GeometryOfKSpaceTraversal": "RECTILINEAR",
        "SegmentedKSpaceTraversal": "PARTIAL",
        "RectilinearPhaseEncodeReordering": "LINEAR",
        "NumberOfKSpaceTrajectories": 1,
    }


def _dimensions(plan: Plan) -> dict[str, Any]:
    organization = derive_uid(plan.series_uid, "dimensions")
    frame_content = Tag("FrameContentSequence")
    pointers = [("StackID", "Stack ID"), ("InStackPositionNumber", "In-Stack Position Number")]
    return {
        "DimensionOrganizationSequence": [item(DimensionOrganizationUID=organization)],
        "DimensionIndexSequence": [
            item(
                DimensionOrganizationUID=organization,
                DimensionIndexPointer=Tag(keyword),
                FunctionalGroupPointer=frame_content,
                DimensionDescriptionLabel=label,
            )
            for keyword, label in pointers
        ],
    }


def _shared(plan: Plan, side: str | None) -> Dataset:
    _, rows, columns = plan.pixels.shape
    shared = _timing_and_coils(plan)
    shared.PixelMeasuresSequence = [
        item(
            PixelSpacing=pixel_spacing(plan),
            SliceThickness=decimals(plan.slice_thickness_mm)[0],
            SpacingBetweenSlices=decimals(plan.slice_spacing_mm)[0],
        )
    ]
    shared.PlaneOrientationSequence = [item(ImageOrientationPatient=orientation(plan))]
    shared.FrameAnatomySequence = [
        item(AnatomicRegionSequence=[anatomic_region(plan)], FrameLaterality=side or "U")
    ]
    shared.MRImageFrameTypeSequence = [
        item(FrameType=image_type(plan.vendor, plan.pulse, enhanced=True), **_frame_kind(plan))
    ]
    shared.MRFOVGeometrySequence = [
        item(
            InPlanePhaseEncodingDirection="ROW",
            MRAcquisitionFrequencyEncodingSteps=rows,
            MRAcquisitionPhaseEncodingStepsInPlane=columns,
            PercentSampling="100",
            PercentPhaseFieldOfView="100",
        )
    ]
    return shared


def _timing_and_coils(plan: Plan) -> Dataset:
    pulse = plan.pulse
    timing = item(
        RepetitionTime=decimals(pulse.repetition)[0],
        FlipAngle=decimals(pulse.flip)[0],
        EchoTrainLength=pulse.echo_train,
        RFEchoTrainLength=0 if pulse.family == "fl" else pulse.echo_train,
        GradientEchoTrainLength=1 if pulse.family == "fl" else 0,
        GradientOutputType="DB_DT",
        GradientOutput=48.0,
        SpecificAbsorptionRateSequence=[
            item(SpecificAbsorptionRateDefinition="IEC_WHOLE_BODY", SpecificAbsorptionRateValue=0.9)
        ],
        OperatingModeSequence=[
            item(OperatingModeType=kind, OperatingMode="IEC_NORMAL") for kind in ("STATIC FIELD", "RF", "GRADIENT")
        ],
    )
    modifier = item(
        InversionRecovery="YES" if pulse.inversion else "NO",
        FlowCompensation="NONE",
        Spoiling="RF" if pulse.family == "fl" else "NONE",
        T2Preparation="NO",
        SpectrallySelectedExcitation="NONE",
        SpatialPresaturation="NONE",
        PartialFourier="NO",
        ParallelAcquisition="NO",
    )
    if pulse.inversion:
        modifier.InversionTimes = [float(pulse.inversion)]
    imaging = item(
        MagnetizationTransfer="NONE",
        BloodSignalNulling="NO",
        Tagging="NONE",
        TransmitterFrequency=42.577 * plan.scanner.tesla,
        PixelBandwidth=decimals(pulse.bandwidth)[0],
    )
    receive = item(
        ReceiveCoilName="BODY 18",
        ReceiveCoilManufacturerName="",
        ReceiveCoilType="SURFACE",
        QuadratureReceiveCoil="NO",
    )
    transmit = item(TransmitCoilName="Body", TransmitCoilManufacturerName="", TransmitCoilType="BODY")
    return item(
        MRTimingAndRelatedParametersSequence=[timing],
        MRModifierSequence=[modifier],
        MRImagingModifierSequence=[imaging],
        MRReceiveCoilSequence=[receive],
        MRTransmitCoilSequence=[transmit],
        MRAveragesSequence=[item(NumberOfAverages="1")],
        MREchoSequence=[item(EffectiveEchoTime=float(pulse.echo))],
    )


def _frame(plan: Plan, number: int) -> Dataset:
    """Functional groups of frame `number` (from 1), which is in-stack position `number`."""
    begun = plan.started + datetime.timedelta(seconds=SECONDS_PER_SLICE * (number - 1))
    moment = begun.strftime("%Y%m%d%H%M%S.%f")
    center, width = plan.window
    content = item(
        FrameAcquisitionNumber=1,
        FrameReferenceDateTime=moment,
        FrameAcquisitionDateTime=moment,
        FrameAcquisitionDuration=SECONDS_PER_SLICE * 1000.0,
        DimensionIndexValues=[1, number],
        StackID="1",
        InStackPositionNumber=number,
    )
    return item(
        FrameContentSequence=[content],
        PlanePositionSequence=[item(ImagePositionPatient=position(plan, plan.order[number - 1]))],
        FrameVOILUTSequence=[item(WindowCenter=center, WindowWidth=width)],
        PixelValueTransformationSequence=[
            item(
                RescaleIntercept="0",
                RescaleSlope=decimals(plan.scanner.rescale_slope)[0],
                RescaleType="US",
            )
        ],
    )
