"""Cornerstone3D, the engine of OHIF, in Node without a browser: what it paints of a Segmentation on each image."""

import base64
import json
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dicom_nodes.types import FrameRef
from tests.viewers.ohif import VIEWERS

_SECONDS = 240


@dataclass(frozen=True, eq=False)
class Painted:
    """What the engine makes of one Segmentation."""

    error: str
    """What it threw, and then there is nothing else; empty if nothing."""
    labels: tuple[str, ...]
    """SegmentLabel by number, from 1."""
    images: npt.NDArray[np.uint8]
    """(image, row, column): each pixel's segment number, on the images that were asked for in their order.

    Where the engine takes segments for overlapping, further images as many follow.
    """


def missing() -> str:
    """What this machine lacks to run it; empty if nothing."""
    engine = VIEWERS / "node_modules" / "@cornerstonejs" / "adapters"
    found = {"node": shutil.which("node"), f"Cornerstone in {VIEWERS} (.ci/viewers)": engine.is_dir()}
    return ", ".join(name for name, there in found.items() if not there)


def paint(asked: Sequence[tuple[Path, Sequence[FrameRef]]]) -> list[Painted]:
    """Load Segmentations, each onto the images that a viewer has open; all in one run, for a start takes time."""
    questions = [
        {"seg": str(seg), "images": [{"path": str(ref.path), "frame": ref.frame_number} for ref in images]}
        for seg, images in asked
    ]
    script = Path(__file__).with_name("cornerstone.mjs")
    done = subprocess.run(
        ["node", script, "--viewers", VIEWERS],
        input=json.dumps(questions),
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [_painted(each) for each in json.loads(done.stdout)]


def _painted(answer: dict[str, Any]) -> Painted:
    if "error" in answer:
        return Painted(str(answer["error"]), (), np.zeros((0, 0, 0), np.uint8))
    numbers, labels, shape, images = (answer[key] for key in ("numbers", "labels", "shape", "images"))
    assert numbers == list(range(1, len(numbers) + 1)), "segments are not numbered from 1 in order"
    pixels = b"".join(map(base64.b64decode, images))
    return Painted("", tuple(labels), np.frombuffer(pixels, np.uint8).reshape(-1, *shape))
