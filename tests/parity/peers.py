"""A NIfTI file and a folder of weights in; the label map that the authors' own program makes of them out.

The programs run in environments of their own, which `make parity` sets up in `.parity/`, and need no network.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.parity.inputs import Labels, read_nifti

ENVIRONMENTS = Path(os.environ.get("SAGITTAL_PARITY") or Path(__file__).parents[2] / ".parity")
LAUNCH = Path(__file__).with_name("launch.py")
LIMIT_SECONDS = 1200


def nnunet(image: Path, models: Path, dataset: int, trainer: str, work: Path) -> Labels:
    """`nnUNetv2_predict` of our own environment, fold 0 of 3d_fullres; `models` is nnUNet_results."""
    given, made = work / "in", work / "out"
    given.mkdir()
    (given / "case_0000.nii.gz").symlink_to(image)
    files = ["-i", str(given), "-o", str(made)]
    options = f"-d {dataset} -c 3d_fullres -f 0 -tr {trainer} -device cpu -npp 1 -nps 1 --disable_progress_bar"
    unused = {"nnUNet_raw": str(work), "nnUNet_preprocessed": str(work), "nnUNet_results": str(models)}
    entry = "nnunetv2.inference.predict_from_raw_data:predict_entry_point"
    _run(Path(sys.executable), entry, [*files, *options.split()], unused)
    return read_nifti(made / "case.nii.gz")


def mrsegmentator(image: Path, weights: Path, work: Path, *options: str) -> Labels:
    """`mrsegmentator` 2; `weights` holds plans.json, or the folders base and body_comp."""
    files = ("-i", str(image), "-o", str(work))
    quiet = ("--cpu_only", "--nproc", "1", "--nproc_export", "1", "--no_tqdm")
    environment = {"MRSEG_WEIGHTS_PATH": str(weights)}
    _run(python("mrsegmentator"), "mrsegmentator.main:main", [*files, *quiet, *options], environment)
    return read_nifti(work / f"{image.name.removesuffix('.nii.gz')}_seg.nii.gz")


def totalsegmentator(image: Path, weights: Path, work: Path, task: str, *options: str) -> Labels:
    """`TotalSegmentator --ml`; `weights` holds the data sets' folders. It reports nothing to anybody."""
    home, made = work / "home", work / "found.nii.gz"
    home.mkdir()
    quiet = {"totalseg_id": "none", "send_usage_stats": False, "prediction_counter": 0}
    (home / "config.json").write_text(json.dumps(quiet | {"statistics_disclaimer_shown": True}))
    arguments = ["-i", str(image), "-o", str(made), *f"--ml -ta {task} -d cpu -nr 1 -ns 1".split()]
    environment = {"TOTALSEG_WEIGHTS_PATH": str(weights), "TOTALSEG_HOME_DIR": str(home)}
    entry = "totalsegmentator.bin.TotalSegmentator:main"
    _run(python("totalsegmentator"), entry, [*arguments, *options], environment)
    return read_nifti(made)


def python(name: str) -> Path:
    """The interpreter of one environment; skips the test where it is not set up."""
    path = ENVIRONMENTS / name / "bin" / "python"
    if not path.exists():
        pytest.skip(f"no {name} in {ENVIRONMENTS}; `make parity` installs it there from PyPI")
    return path


def version(name: str, package: str) -> str:
    """Which version of a package an environment has."""
    asked = f"import importlib.metadata as m; print(m.version({package!r}))"
    return subprocess.check_output([python(name), "-c", asked], text=True).strip()


def _run(interpreter: Path, entry: str, arguments: list[str], environment: Mapping[str, str]) -> None:
    """Run it without our packages and without a network's help; what it printed is in the error where it fails."""
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONWARNINGS")}
    done = subprocess.run(
        [interpreter, LAUNCH, entry, *arguments],
        env={**kept, "nnUNet_def_n_proc": "1", "PYTHONSAFEPATH": "1", **environment},
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        check=False,
    )
    if done.returncode:
        raise AssertionError(f"{entry} ended with {done.returncode}:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
