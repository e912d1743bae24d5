"""How long the headers of a large series take, against reading its pixels, and how much memory, in one run.

    python -m benchmarks.headers [--instances 2000] [--runs 5]

One side is `read_headers` and `find_volumes`, all that routing knows of a series; the other is `read_voxels` of
the volumes that were found. Both read the same files, in turns, from the page cache, so that neither waits for a
disk. The series are a classic one of ten temporal positions, with private elements and headers as large as a
scanner writes them, and an Enhanced one of as many frames in one object, whose file is read once for each volume.
Peak memory is that of a process that analyses headers and nothing else, at two sizes of image.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import EnhancedMRImageStorage, ExplicitVRLittleEndian, MRImageStorage, generate_uid

from dicom_nodes.elements import forget_values
from dicom_nodes.headers import forget_headers, read_headers
from dicom_nodes.reader import read_voxels
from dicom_nodes.volumes import SeriesContent, find_volumes

SIDE = 256
TIMES = 10
SMALL, LARGE = 64, 512


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--instances", type=int, default=2000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--peak", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peak:
        print(peak_kib(arguments.peak))
        return
    with tempfile.TemporaryDirectory(prefix="headers-") as name:
        _measure(Path(name), arguments.instances, arguments.runs)


def analyse(folder: Path) -> SeriesContent:
    """All that is done with the headers of a series."""
    return find_volumes(read_headers(sorted(folder.iterdir())))


def peak_kib(folder: Path) -> int:
    """Analyse a series in this process and give its largest resident set; RuntimeError where it has no volume."""
    if not analyse(folder).volumes:
        raise RuntimeError(f"no volume in {folder}")
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))


def _measure(folder: Path, instances: int, runs: int) -> None:
    kinds: dict[str, Callable[[Path, int, int], Path]] = {"classic": write_classic, "Enhanced": write_enhanced}
    print(
        f"{instances} images of {SIDE} x {SIDE}, {TIMES} volumes, {runs} runs in turns; seconds: min / median / max"
    )
    print(f"\n{'':10}{'headers':>24}{'pixels':>24}{'headers / pixels':>18}")
    for kind, write in kinds.items():
        series = write(folder / kind, instances, SIDE)
        headers, pixels = _seconds(series, runs)
        ratio = statistics.median(headers) / statistics.median(pixels)
        print(f"{kind:10}{_three(headers):>24}{_three(pixels):>24}{ratio:>18.2f}", flush=True)
    few = max(TIMES * 3, instances // 4)
    print(f"\npeak memory of a process that analyses {few} images; MiB")
    print(f"\n{'':10}{f'{SMALL} x {SMALL}':>24}{f'{LARGE} x {LARGE}':>24}{'more':>18}")
    for kind, write in kinds.items():
        small, large = (_peak_mib(write(folder / f"{kind}-{side}", few, side)) for side in (SMALL, LARGE))
        print(f"{kind:10}{small:>24.1f}{large:>24.1f}{large - small:>18.1f}", flush=True)


def _seconds(series: Path, runs: int) -> tuple[list[float], list[float]]:
    """Time both sides in turns; a first pass warms the page cache and is not counted.

    Each pass begins as for a series that was never seen, without the values that are kept from the pass before.
    """
    headers: list[float] = []
    pixels: list[float] = []
    for run in range(runs + 1):
        forget_values()
        forget_headers()
        began = time.perf_counter()
        content = analyse(series)
        between = time.perf_counter()
        for volume in content.volumes:
            read_voxels(volume)
        ended = time.perf_counter()
        if len(content.volumes) != TIMES or content.left_out:
            raise RuntimeError("\n".join(content.explain()))
        if run:
            headers.append(between - began)
            pixels.append(ended - between)
    return headers, pixels


def _peak_mib(series: Path) -> float:
    command = [sys.executable, "-m", "benchmarks.headers", "--peak", str(series)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout) / 1024


def _three(seconds: list[float]) -> str:
    return f"{min(seconds):.2f} / {statistics.median(seconds):.2f} / {max(seconds):.2f}"


def write_classic(folder: Path, images: int, side: int, times: int = TIMES) -> Path:
    """A dynamic series of MR Image Storage, as many volumes as `times`, as a scanner writes it."""
    folder.mkdir()
    noise = np.random.default_rng(0)
    csa = noise.integers(0, 256, 12_000, np.uint8).tobytes()
    series_uid = generate_uid()
    slices = images // times
    for number in range(slices * times):
        time_point, z = divmod(number, slices)
        dataset = _described(series_uid, side, z)
        dataset.SOPClassUID, dataset.ImageType = MRImageStorage, ["ORIGINAL", "PRIMARY", "M", "ND", "NORM"]
        dataset.InstanceNumber, dataset.AcquisitionNumber = number + 1, time_point + 1
        dataset.TemporalPositionIdentifier, dataset.NumberOfTemporalPositions = time_point + 1, times
        dataset.ImagePositionPatient = ["-120.5", "-118.25", f"{3.0 * z:.6f}"]
        dataset.ImageOrientationPatient = ["1", "0", "0", "0", "1", "0"]
        dataset.PixelSpacing, dataset.SliceThickness, dataset.SliceLocation = [0.9, 0.9], 3, 3.0 * z
        _add_private(dataset, csa, number)
        dataset.PixelData = noise.integers(0, 4096, (side, side), np.uint16).tobytes()
        _save(dataset, folder / f"{number:05}.dcm")
    return folder


def write_enhanced(folder: Path, images: int, side: int) -> Path:
    """The same series in one Enhanced MR object."""
    folder.mkdir()
    noise = np.random.default_rng(0)
    dataset = _described(generate_uid(), side, 0)
    dataset.SOPClassUID, dataset.ImageType = EnhancedMRImageStorage, ["ORIGINAL", "PRIMARY", "T1", "NONE"]
    slices = images // TIMES
    dataset.NumberOfFrames = slices * TIMES
    dataset.SharedFunctionalGroupsSequence = [_shared()]
    dataset.PerFrameFunctionalGroupsSequence = [_own(*divmod(number, slices)) for number in range(slices * TIMES)]
    pixels = noise.integers(0, 4096, (side, side), np.uint16).tobytes()
    dataset.PixelData = pixels * (slices * TIMES)
    _save(dataset, folder / "enhanced.dcm")
    return folder


def _shared() -> Dataset:
    return _item(
        PlaneOrientationSequence=[_item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])],
        PixelMeasuresSequence=[_item(PixelSpacing=[0.9, 0.9], SliceThickness=3.0)],
        MRTimingAndRelatedParametersSequence=[_item(RepetitionTime=4.2, FlipAngle=12.0, EchoTrainLength=1)],
        MRReceiveCoilSequence=[_item(ReceiveCoilName="Body_18")],
        FrameAnatomySequence=[_item(FrameLaterality="U")],
    )


def _own(time_point: int, z: int) -> Dataset:
    return _item(
        FrameContentSequence=[
            _item(StackID="1", InStackPositionNumber=z + 1, TemporalPositionIndex=time_point + 1,
                  FrameAcquisitionNumber=1, DimensionIndexValues=[1, z + 1, time_point + 1])
        ],
        PlanePositionSequence=[_item(ImagePositionPatient=[-120.5, -118.25, 3.0 * z])],
        MREchoSequence=[_item(EffectiveEchoTime=2.0)],
        MRImageFrameTypeSequence=[
            _item(FrameType=["ORIGINAL", "PRIMARY", "T1", "NONE"], ComplexImageComponent="MAGNITUDE",
                  AcquisitionContrast="T1")
        ],
        PixelValueTransformationSequence=[_item(RescaleSlope=1, RescaleIntercept=0, RescaleType="US")],
        FrameVOILUTSequence=[_item(WindowCenter=800, WindowWidth=1600)],
    )  # fmt: skip


def _item(**attributes: object) -> Dataset:
    dataset = Dataset()
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    return dataset


def _described(series_uid: str, side: int, z: int) -> Dataset:
    """What all images of the series share; some eighty elements, as many as a scanner writes."""
    dataset = _item(
        SpecificCharacterSet="ISO_IR 100", SOPInstanceUID=generate_uid(), StudyInstanceUID="1.2.3",
        SeriesInstanceUID=series_uid, FrameOfReferenceUID="1.2.3.5", Modality="MR", Manufacturer="SIEMENS",
        ManufacturerModelName="Benchmark", InstitutionName="Benchmark", StationName="MRC1", PatientID="BENCHMARK",
        PatientName="Benchmark^Headers", PatientBirthDate="19700101", PatientSex="O", PatientAge="050Y",
        PatientWeight=70, StudyDate="20260101", SeriesDate="20260101", AcquisitionDate="20260101",
        ContentDate="20260101", StudyTime="101010.123", SeriesTime="101010.123", AcquisitionTime="101010.123",
        ContentTime="101010.123", StudyID="1", SeriesNumber=7, StudyDescription="Abdomen^Leber",
        SeriesDescription="t1_vibe_dyn_tra", ProtocolName="t1_vibe_dyn_tra", BodyPartExamined="ABDOMEN",
        ScanningSequence="GR", SequenceVariant=["SP", "OSP"], ScanOptions="PFP", MRAcquisitionType="3D",
        SequenceName="*fl3d1", AngioFlag="N", RepetitionTime=4.2, EchoTime=2.0, NumberOfAverages=1,
        ImagingFrequency=123.2, ImagedNucleus="1H", EchoNumbers=1, MagneticFieldStrength=3,
        SpacingBetweenSlices=3, NumberOfPhaseEncodingSteps=200, EchoTrainLength=1, PercentSampling=80,
        PercentPhaseFieldOfView=100, PixelBandwidth=300, DeviceSerialNumber="1", SoftwareVersions="syngo MR E11",
        TransmitCoilName="Body", AcquisitionMatrix=[0, 256, 200, 0], InPlanePhaseEncodingDirection="ROW",
        FlipAngle=12, VariableFlipAngleFlag="N", SAR=0.5, dBdt=0, PatientPosition="HFS",
        SamplesPerPixel=1, PhotometricInterpretation="MONOCHROME2", Rows=side, Columns=side, BitsAllocated=16,
        BitsStored=12, HighBit=11, PixelRepresentation=0, SmallestImagePixelValue=0, LargestImagePixelValue=4095,
        WindowCenter=800, WindowWidth=1600, InstanceNumber=z + 1, PerformedProcedureStepDescription="Abdomen^Leber",
    )  # fmt: skip
    reference = _item(ReferencedSOPClassUID=MRImageStorage, ReferencedSOPInstanceUID=generate_uid())
    dataset.ReferencedImageSequence = [reference] * 3
    return dataset


def _add_private(dataset: Dataset, csa: bytes, number: int) -> None:
    """Private elements by number and size as a widespread scanner writes them; the values mean nothing."""
    one = dataset.private_block(0x0019, "SIEMENS MR HEADER", create=True)
    one.add_new(0x08, "CS", "IMAGE NUM 4")
    one.add_new(0x15, "FD", [-120.5, -118.25, 3.0 * number])
    for element in (0x09, 0x0B, 0x11, 0x12, 0x13, 0x14, 0x16, 0x17, 0x18):
        one.add_new(element, "LO", "1.0")
    for element, length in ((0x10, 1), (0x20, 5)):
        two = dataset.private_block(0x0029, "SIEMENS CSA HEADER", create=True)
        two.add_new(element, "OB", csa * length)
    for element in (0x08, 0x09, 0x18, 0x19):
        two.add_new(element, "LO", "MR")
    three = dataset.private_block(0x0051, "SIEMENS MR HEADER", create=True)
    for element in (0x08, 0x09, 0x0A, 0x0B, 0x0C, 0x0D, 0x0E, 0x0F, 0x11, 0x12, 0x13, 0x16, 0x17, 0x19):
        three.add_new(element, "LO", "TP 0")


def _save(dataset: Dataset, path: Path) -> None:
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset["PixelData"].VR = "OW"
    dataset.save_as(path, enforce_file_format=True)


if __name__ == "__main__":
    main()
