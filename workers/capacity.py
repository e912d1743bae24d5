"""`python -m workers.capacity SITE_FILE`: what a worker of this site could run here, as one JSON object.

The service asks it so, as it never loads torch itself.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from dicom_nodes.errors import ModelUnusable
from service.config import Site, read_site
from service.modelstore import site_store
from service.running import submodels_to_run
from service.submodel import site_submodels
from workers.cli import warm_models
from workers.memory import host_room


def capacity(site: Site) -> dict[str, Any]:
    """Device, GPUs and driver; bytes of memory that a worker may take now, those of weights that it may hold, and
    those that each running sub-model needs.

    `unable` says, by the name of a sub-model, why it cannot run; one that is not installed stands nowhere.
    """
    submodels = {each.name: each for each in site_submodels(site.models.submodels, site.home)}
    gpus, cuda, driver = _gpus(site.workers.device)
    told: dict[str, Any] = {"gpus": gpus, "cuda": cuda, "driver": driver, "needs": {}, "unable": {}}
    told |= {"host_bytes": 0, "room_bytes": None}
    if site.workers.device == "cuda" and not gpus:
        return told
    models = warm_models(site, submodels)
    told["host_bytes"] = models.budget.host_bytes
    told["room_bytes"] = host_room(site.workers.inference_processes, site.workers.memory_mb)
    there = {each.network for each in site_store(site).installed()}
    for submodel in submodels_to_run(tuple(submodels.values()), site.models.run):
        if not all(network.name in there for network in submodel.network):
            continue
        try:
            told["needs"][submodel.name] = models.check(submodel)
        except ModelUnusable as error:
            told["unable"][submodel.name] = str(error)
    return told


def _gpus(device: str) -> tuple[list[dict[str, Any]], str, str]:
    """The GPUs that torch sees, the CUDA it was built for, the driver; nothing is loaded where none is wanted."""
    if device == "cpu":
        return [], "", ""
    from workers.runners.gpus import cuda_version, gpus  # noqa: PLC0415  # torch is loaded only where it is asked

    return [{"name": name, "memory_bytes": size} for name, size in gpus()], cuda_version(), _driver()


def _driver() -> str:
    """Version of NVIDIA's driver; empty where there is none."""
    if shutil.which("nvidia-smi") is None:
        return ""
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        said = subprocess.run(query, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return said.stdout.strip().splitlines()[0] if said.returncode == 0 and said.stdout.strip() else ""


if __name__ == "__main__":
    sys.stdout.write(json.dumps(capacity(read_site(Path(sys.argv[1])))))
