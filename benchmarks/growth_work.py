"""What is done at one point of the curves of growth: a work and its sizes in, its seconds and its memory out.

    python -m benchmarks.growth_work reading '{"slices": 200, "matrix": 128, "classes": 10, "queue": 1000}'

Prints seconds (the fastest of three rounds) and MiB as JSON. `reading`: files to a volume. `encoding`: label map to
a proven SEG. `resampling`: logits at half the resolution in each direction to a label map. `claiming`: one job
claimed of a queue in an SQLite ledger, and given back. `choosing`: whose turn it is in that queue.
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from service.ledger import Ledger

Sizes = Mapping[str, int]
Work = Callable[[], float]
"""One round; gives its seconds."""
ROUNDS = 3
VOXEL_MM = (10.0, 6.0, 6.0)
"""(z, y, x): half of what the network of `tests/faults/model.py` works on."""
CLAIMS = 50


def reading(sizes: Sizes, folder: Path) -> Work:
    """Files of one series to a volume in memory, geometry checked."""
    from benchmarks.headers import write_classic  # noqa: PLC0415  # each work imports what it needs alone
    from benchmarks.series_reading import read_ours  # noqa: PLC0415

    series = write_classic(folder / "series", sizes["slices"], sizes["matrix"], times=1)
    return lambda: _seconds(lambda: read_ours(series))


def encoding(sizes: Sizes, folder: Path) -> Work:
    """A label map to a BINARY SEG in memory, decoded again and found equal."""
    from benchmarks.seg_input import draw, segments, write_series  # noqa: PLC0415
    from dicom_nodes.encode.seg import encode_seg  # noqa: PLC0415
    from dicom_nodes.headers import read_headers  # noqa: PLC0415
    from dicom_nodes.types import Algorithm, LabelMap, ResultIdentity  # noqa: PLC0415
    from dicom_nodes.volumes import find_volumes  # noqa: PLC0415

    shape = (sizes["slices"], sizes["matrix"], sizes["matrix"])
    write_series(folder / "series", shape)
    (volume,) = find_volumes(read_headers(sorted((folder / "series").iterdir()))).volumes
    algorithm = Algorithm("benchmark", "1", "benchmark", phantom=True)
    found = LabelMap(draw(shape, sizes["classes"]), volume.affine, segments(sizes["classes"]), algorithm)
    made_at = datetime(2026, 1, 1)  # noqa: DTZ001  # a site's time, as DICOM has it
    identity = ResultIdentity("benchmark", "abdomen", 1, None, made_at, "1", "1")
    return lambda: _seconds(lambda: encode_seg(found, volume, identity))


def resampling(sizes: Sizes, folder: Path) -> Work:
    """Logits of a real, tiny network to the label map on the volume's own grid: between its two reports."""
    import numpy as np  # noqa: PLC0415

    from tests.faults.model import install_classes  # noqa: PLC0415
    from workers.runners.nnunet import load  # noqa: PLC0415

    model = load(install_classes(folder, sizes["classes"]), threads=1)
    shape = (sizes["slices"], sizes["matrix"], sizes["matrix"])
    array = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    began: list[float] = []

    def hear(stage: str, _part: float) -> None:
        if stage == "resample" and len(began) == 0:
            began.append(time.perf_counter())

    def one_round() -> float:
        began.clear()
        model.predict(array, VOXEL_MM, hear)
        return time.perf_counter() - began[0]

    return one_round


def claiming(sizes: Sizes, folder: Path) -> Work:
    """One job of a queue claimed by its id, as a worker is told it, and given back."""
    from service.jobs import JobState  # noqa: PLC0415

    ledger, job_id = _queue(sizes, folder)

    def claims() -> None:
        for _ in range(CLAIMS):
            ledger.claim_job(job_id, JobState.QUEUED, JobState.INFERRING, "bench", 60)
            ledger.move_job(job_id, JobState.QUEUED, "given back", owner="bench")

    return lambda: _seconds(claims) / CLAIMS


def choosing(sizes: Sizes, folder: Path) -> Work:
    """Whose turn it is among the jobs that wait: what the sweeper asks once in a second."""
    from service.jobs import JobState  # noqa: PLC0415

    ledger, _ = _queue(sizes, folder)
    return lambda: _seconds(lambda: ledger.ready_jobs(JobState.QUEUED, ledger.now()))


def _queue(sizes: Sizes, folder: Path) -> tuple["Ledger", str]:
    """A ledger in which so many jobs wait, and the id of one of them."""
    from benchmarks.ledger_filling import queued  # noqa: PLC0415
    from service.ledger import open_ledger  # noqa: PLC0415

    url = f"sqlite:///{folder / 'ledger.sqlite'}"
    ledger = open_ledger(url, actor="bench")
    job_id = queued(ledger, "1.2.3").id
    _repeat(url, job_id, sizes["queue"] - 1)
    return ledger, job_id


def _repeat(url: str, job_id: str, times: int) -> None:
    """Put so many jobs beside one that are like it but for their ids."""
    from sqlalchemy import create_engine, text  # noqa: PLC0415

    from service.schema import jobs  # noqa: PLC0415

    others = ", ".join(column.name for column in jobs.columns if column.name != "id")
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(
            text(
                "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :times) "
                f"INSERT INTO jobs (id, {others}) SELECT 'c' || i, {others} FROM n, jobs WHERE id = :one"
            ),
            {"times": times, "one": job_id},
        )
    engine.dispose()


WORK: Mapping[str, Callable[[Sizes, Path], Work]] = MappingProxyType(
    {
        "reading": reading,
        "encoding": encoding,
        "resampling": resampling,
        "claiming": claiming,
        "choosing": choosing,
    }
)


def _seconds(run: Callable[[], object]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def _resident_kib(which: str) -> int:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(which))


def _begin_peak_anew() -> None:
    """Forget the largest resident set so far (man 5 proc, clear_refs)."""
    Path("/proc/self/clear_refs").write_text("5")


def main() -> None:
    """Measure one point."""
    sizes: dict[str, int] = json.loads(sys.argv[2])
    with tempfile.TemporaryDirectory(prefix="growth-") as folder:
        work = WORK[sys.argv[1]](sizes, Path(folder))
        before = _resident_kib("VmRSS:")
        _begin_peak_anew()
        fastest = min(work() for _ in range(ROUNDS))
        print(json.dumps([fastest, (_resident_kib("VmHWM:") - before) / 1024]))


if __name__ == "__main__":
    main()
