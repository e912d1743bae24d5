"""The probes: a server in, one line of the table or two out."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.probes import disk
from benchmarks.probes.sender import Told, send
from benchmarks.probes.series import COMPRESSED, SLICES, Series, lacking, make_series
from benchmarks.probes.server import Server, answered, rest
from dicom_nodes.headers import read_headers
from dicom_nodes.reader import read_voxels
from dicom_nodes.volumes import find_volumes
from tests.dicom_nodes.test_charsets import SAMPLES, in_file, text

CUT, KILLED_AFTER, FEW = 30, 50, 12
"""Where a sender breaks off; where a receiver is killed; slices of the series whose number does not matter."""
LEFT_BYTES = 200_000
"""What a full disk still has: a few instances fit, and one is broken off in the middle."""
NAMES = {
    "ISO 2022 IR 87": "kanji",
    "GB18030": "GB18030",
    "UTF-8": "UTF-8",
    "Latin-1 called UTF-8": "Latin-1 said to be UTF-8",
}
"""The four cases of a patient's name, by their samples."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of what a sender was told."""

    probe: str
    told: str
    """Statuses, counted."""
    acknowledged: int
    kept: int
    """Acknowledged instances that lie whole on the server's disk."""
    forwarded: tuple[int, ...]
    """Instances that each delivery was, or was made of."""
    lost: int
    """Acknowledged instances that were not sent on, and for which there is no reason to be read."""
    half: bool
    """Whether a part of a series was sent on as the series."""
    doubled: bool
    """Whether the same was sent on twice."""
    says: str
    wrong: tuple[str, ...] = ()
    """What arrived otherwise than it was sent."""


def outcome(
    probe: str, server: Server, all_of: Sequence[tuple[Series, Told]], says: str = "", wrong: Sequence[str] = ()
) -> Outcome:
    """Hold what senders were told against what the disk and the archive have."""
    on_disk = {disk.whole(path) for path in disk.files_of(server.storage)}
    acknowledged = [told.acknowledged for _, told in all_of]
    sent = [server.forwarded(series) for series, _ in all_of]
    lost = sum(
        len(told - frozenset().union(*made))
        for (series, _), told, made in zip(all_of, acknowledged, sent, strict=True)
        if not server.set_aside(series)
    )
    statuses = Told({uid: status for _, told in all_of for uid, status in told.statuses.items()})
    return Outcome(
        probe,
        str(statuses) if statuses.statuses else "; ".join(told.trouble for _, told in all_of),
        sum(map(len, acknowledged)),
        len(frozenset().union(*acknowledged) & on_disk),
        tuple(len(each) for made in sent for each in made),
        lost,
        any(each < frozenset(series.uids) for (series, _), made in zip(all_of, sent, strict=True) for each in made),
        any(len(set(made)) < len(made) for made in sent),
        says or "; ".join(dict.fromkeys(server.says(series) for series, _ in all_of)),
        tuple(wrong),
    )


def sender_aborts(server: Server, folder: Path) -> list[Outcome]:
    """A-ABORT after half of a series: one sender never comes back, another does and sends the other half."""
    gone, returning = make_series(folder / "gone", 1), make_series(folder / "returning", 2)
    told_gone = send(server.node, _first(gone), aborts=True)
    told = send(server.node, _first(returning), aborts=True)
    time.sleep(server.pace.away)
    told = told.then(send(server.node, returning.without(told.acknowledged)))
    rest(server, gone)
    rest(server, returning)
    cut = f"sender aborts at {CUT} of {SLICES}"
    return [
        outcome(f"{cut}, stays away", server, [(gone, told_gone)]),
        outcome(f"{cut}, returns after {server.pace.away:g} s", server, [(returning, told)]),
    ]


def _first(series: Series) -> Series:
    return series.without(frozenset(series.uids[CUT:]))


def receiver_killed(server: Server, folder: Path) -> list[Outcome]:
    """SIGKILL between two instances; the sender comes back with what it has no Success for."""
    series = make_series(folder, 3)

    def strike(number: int) -> None:
        if number == KILLED_AFTER:
            server.kill()

    told = send(server.node, series, before=strike)
    server.back()
    time.sleep(server.pace.away)
    told = told.then(send(server.node, series.without(told.acknowledged)))
    rest(server, series)
    return [outcome(f"SIGKILL after {KILLED_AFTER} of {SLICES}", server, [(series, told)])]


def archive_down(server: Server, folder: Path) -> list[Outcome]:
    """Nobody listens at the archive when a series is to be sent on; later somebody does."""
    series = make_series(folder, 4)
    server.pacs.down()
    try:
        told = send(server.node, series)
        time.sleep(server.pace.down)
        before = server.says(series)
    finally:
        server.pacs.up()
    answered(server, series, server.pace.patience)
    rest(server, series, 5.0)
    after = server.says(series)
    says = before if after == before else f"{before}; then {after}"
    return [outcome(f"archive down for {server.pace.down:g} s at dispatch", server, [(series, told)], says)]


def disk_full(server: Server, folder: Path) -> list[Outcome]:
    """The disk of received instances fills up in mid-series; room is made, and the sender comes again."""
    series = make_series(folder, 5)
    left_before = disk.partial(server.storage)

    def strike(number: int) -> None:
        if number == CUT:
            disk.fill(server.storage, LEFT_BYTES)

    first = send(server.node, series, before=strike)
    left = disk.partial(server.storage) - left_before
    time.sleep(server.pace.away)
    disk.drain(server.storage)
    time.sleep(server.pace.quiet)
    told = first.then(send(server.node, series.without(first.acknowledged)))
    rest(server, series)
    left_after = disk.partial(server.storage) - left_before
    says = f"partial files: {len(left)} while full, {len(left_after)} at the end; {server.says(series)}"
    found = outcome("disk full in mid-series, then room", server, [(series, told)], says)
    return [replace(found, told=f"{first}; at last {told}")]


def compressed_only(server: Server, folder: Path) -> list[Outcome]:
    """Senders that propose one compressed transfer syntax each, and nothing else."""
    sent, wrong, skipped = [], [], []
    for seed, (name, syntax) in enumerate(COMPRESSED.items(), start=10):
        if lacks := lacking(syntax):
            skipped.append(f"{name} left out: no {lacks}")
            continue
        plain = make_series(folder / name / "plain", seed, FEW)
        series = make_series(folder / name / "sent", seed, FEW, syntax)
        sent.append((name, plain, series, send(server.node, series)))
    for name, plain, series, _ in sent:
        rest(server, series)
        if not _same_pixels(plain.paths, server.images(series)):
            wrong.append(f"{name}: other pixels")
    says = "; ".join([f"{len(sent) - len(wrong)} of {len(sent)} with the same pixels", *skipped])
    name = ", ".join(name for name, *_ in sent)
    return [outcome(f"only {name} proposed", server, [(each[2], each[3]) for each in sent], says, wrong)]


def _same_pixels(plain: Sequence[Path], arrived: Sequence[Path]) -> bool:
    read = [find_volumes(read_headers(paths)).volumes for paths in (plain, arrived)]
    if [len(volumes) for volumes in read] != [1, 1]:
        return False
    expected, found = (read_voxels(volumes[0]) for volumes in read)
    return np.array_equal(expected.array, found.array) and np.allclose(read[0][0].affine, read[1][0].affine)


def names(server: Server, folder: Path) -> list[Outcome]:
    """Patients' names in four character sets, one of them declared wrongly."""
    sent, wrong = [], []
    for seed, (name, sample) in enumerate(NAMES.items(), start=20):
        declared, value = SAMPLES[sample]
        elements = [text("SpecificCharacterSet", declared), text("PatientName", value)]
        series = make_series(folder / str(seed), seed, FEW, elements=elements)
        sent.append((name, [in_file(each) for each in elements], series, send(server.node, series)))
    for name, bytes_, series, _ in sent:
        rest(server, series)
        results = [path.read_bytes() for path in server.results(series)]
        if not results or not all(each in result for each in bytes_ for result in results):
            wrong.append(f"{name}: other bytes")
    says = f"{len(sent) - len(wrong)} of {len(sent)} names are the same bytes in what was sent on"
    pairs = [(series, told) for _, _, series, told in sent]
    return [outcome(f"names in {', '.join(NAMES)}", server, pairs, says, wrong)]


PROBES: dict[str, Callable[[Server, Path], list[Outcome]]] = {
    "abort": sender_aborts,
    "kill": receiver_killed,
    "down": archive_down,
    "full": disk_full,
    "compressed": compressed_only,
    "names": names,
}
"""By the name that the command line knows them by."""
