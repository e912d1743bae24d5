"""The machine in; out: whether what is written stays, what room is left, who we are, what time it is."""

import os
import platform
import resource
import secrets
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from sqlalchemy.engine import make_url

from service.disk import DiskState, Volume, disk_watch
from service.doctor.seen import Ground, Seen, bad, ok, warning
from service.leaps import clock_file, looked_before
from service.times import ago

SLOW_FLUSH_SECONDS = 0.25
"""A flush that takes longer holds up every C-STORE response."""
FILES_OF_ONE_ASSOCIATION = 4
FILES_BESIDES = 256
SOFTWARE = ("sagittal", "torch", "nnunetv2", "pynetdicom", "pydicom", "highdicom", "celery")
MOUNTS = Path("/proc/self/mountinfo")
_NETWORK = ("nfs", "cifs", "smb", "9p", "afs", "ceph", "glusterfs", "fuse.sshfs", "lustre", "gpfs")
_MEMORY = ("tmpfs", "ramfs")


def folders(ground: Ground) -> Iterator[Seen]:
    """Whether each folder of the site takes a file and keeps it: written, flushed, renamed, as instances are."""
    site = ground.site
    there = [each for each in (site.folder, site.incoming, site.jobs) if each.is_dir()]
    if not there:
        yield _may_be_made(site.folder)
    tried = [_keeps(folder) for folder in there]
    yield from (each for each in tried if isinstance(each, Seen))
    took = [each for each in tried if isinstance(each, float)]
    if took and len(took) == len(there):
        yield ok(f"{site.folder}: a file is written, flushed and renamed in {max(took) * 1000:.0f} ms")
    if len({folder.stat().st_dev for folder in there}) > 1:
        saw = f"parts of {site.folder} lie on different file systems"
        yield warning(saw, "Give each of them room and watch each: the free space below is that of the first.")


def _may_be_made(folder: Path) -> Seen:
    above = next(each for each in folder.absolute().parents if each.is_dir())
    if os.access(above, os.W_OK | os.X_OK):
        return ok(f"{folder} is not there yet: the first start makes it")
    return bad(f"{folder} is not there and cannot be made", f"Make {folder} and give it to the service's user.")


def _keeps(folder: Path) -> Seen | float:
    """How many seconds a file took, or what is wrong."""
    trial = folder / f".doctor-{secrets.token_hex(6)}"
    began = time.monotonic()
    try:
        try:
            _write_durably(trial)
        finally:
            for each in (trial, trial.with_suffix(".renamed")):
                each.unlink(missing_ok=True)
    except OSError as error:
        who = f"user {os.geteuid()}"
        advice = f"Let {who} write there, on a disk with room that is mounted to be written; nothing is received."
        return bad(f"{folder} cannot be written: {error.strerror}", advice)
    took = time.monotonic() - began
    if took > SLOW_FLUSH_SECONDS:
        advice = "Put the folder on a faster disk: every acknowledged instance waits for such a flush."
        return warning(f"{folder} took {took * 1000:.0f} ms to write, flush and rename", advice)
    return took


def _write_durably(trial: Path) -> None:
    with trial.open("xb") as file:
        file.write(b"sagittal doctor")
        file.flush()
        os.fsync(file.fileno())
    trial.rename(trial.with_suffix(".renamed"))
    descriptor = os.open(trial.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def space(ground: Ground) -> Iterator[Seen]:
    """What is free of each volume, against the site's own marks."""
    for volume in disk_watch(ground.site).volumes():
        said = f"{', '.join(volume.holds)}: {volume.said}"
        advice = "Make room, as by [retention], or enlarge it: `sagittal storage` shows what holds it."
        if volume.state is DiskState.STOP:
            yield bad(f"{said}: senders are told to come again (A700)" if _receives(volume) else said, advice)
        elif volume.state is DiskState.LOW:
            yield warning(said, advice)
        else:
            yield ok(said)


def _receives(volume: Volume) -> bool:
    return bool({"incoming", "ledger"} & set(volume.holds))


def nearest(path: Path) -> Path:
    """A path, or the nearest above it that is there."""
    return next(each for each in (path.absolute(), *path.absolute().parents) if each.exists())


def file_system(ground: Ground, mounts: Path = MOUNTS) -> Iterator[Seen]:
    """What kind of file system the folder lies on."""
    site, kind = ground.site, kind_of(nearest(ground.site.folder), mounts)
    if kind is None:
        yield ok("cannot be told on this machine")
    elif kind.startswith(_NETWORK):
        if make_url(site.ledger_url).get_backend_name() == "sqlite":
            advice = "Name a PostgreSQL in [storage] ledger, or a local folder: SQLite's locks fail on a network."
            yield bad(f"{site.folder} with the SQLite ledger lies on {kind}", advice)
        else:
            advice = "See that the server exports it with `sync` and that it is mounted `hard`."
            yield warning(f"{site.folder} lies on {kind}", advice)
    elif kind in _MEMORY:
        advice = "Name a folder on a disk in [storage] folder: all that was acknowledged is lost with the power."
        yield bad(f"{site.folder} lies in memory ({kind})", advice)
    elif kind == "overlay":
        advice = "Mount a volume for [storage] folder: what lies in a container's own layer goes with it."
        yield warning(f"{site.folder} lies in a container's own layer ({kind})", advice)
    else:
        yield ok(kind)


def kind_of(folder: Path, mounts: Path = MOUNTS) -> str | None:
    """The type of the file system that holds a folder, by the table of mounts; None where there is none."""
    try:
        lines = mounts.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return None
    where, found = folder.resolve(), ("", "")
    for line in lines:
        before, _, after = line.partition(" - ")
        point = before.split()[4].encode().decode("unicode_escape")
        if where.is_relative_to(point) and len(point) >= len(found[0]):  # a later mount hides an earlier one
            found = (point, after.split()[0])
    return found[1] or None


def user(ground: Ground) -> Iterator[Seen]:
    """Who we are, and whether the folder is that user's."""
    folder, ours = ground.site.folder, os.geteuid()
    if folder.is_dir() and (owner := folder.stat().st_uid) != ours:
        advice = "Run the doctor as the service's own user: what that one may do is what counts."
        yield warning(f"user {ours} asks, and {folder} belongs to user {owner}", advice)
    elif ours == 0:
        yield warning(
            "runs as root", "Make a user for the service, give it the folder, and start the service as it."
        )
    else:
        yield ok(f"user {ours}, not root")


def open_files(ground: Ground) -> Iterator[Seen]:
    """How many files this shell, and what it starts, may have open."""
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = ground.site.receive.max_associations
    needed = FILES_BESIDES + FILES_OF_ONE_ASSOCIATION * most
    if allowed != resource.RLIM_INFINITY and allowed < needed:
        advice = f"Allow {needed} (LimitNOFILE= of systemd, or `ulimit -n {needed}`), or lower max_associations."
        yield warning(f"{allowed} open files are allowed, and {most} associations may want {needed}", advice)
    else:
        yield ok("no limit" if allowed == resource.RLIM_INFINITY else f"{allowed} allowed")


def clock(ground: Ground) -> Iterator[Seen]:
    """Whether the clock is kept by a time server and was not seen to leap, and in which zone results are dated."""
    last = looked_before(clock_file(ground.site))
    if last is not None and not last.believed:
        advice = "Set it right if it is wrong. Else wait for that day, or use `sagittal storage --delete-now`."
        yield warning(f"it leapt ahead by {ago(last.ahead)}: for a day, retention deletes nothing", advice)
    kept = clock_is_kept()
    if kept is None:
        yield ok("who keeps it cannot be told here")
    elif kept:
        yield ok("kept by a time server")
    else:
        advice = "Start chrony or systemd-timesyncd: results are dated by it, and rests between attempts measured."
        yield warning("no time server keeps it", advice)
    if not (os.environ.get("TZ") or Path("/etc/localtime").exists()):
        advice = "Set the time zone (`timedatectl set-timezone`, or TZ in a container): results are dated in it."
        yield warning("no time zone is set, so results are dated in UTC", advice)
    else:
        yield ok(f"time zone {datetime.now().astimezone():%Z, UTC%z}")


def clock_is_kept() -> bool | None:
    """Whether a time server keeps this machine's clock; None where nobody here can tell."""
    if (said := _said(["timedatectl", "show", "--property=NTPSynchronized", "--value"])) in ("yes", "no"):
        return said == "yes"
    if said := _said(["chronyc", "-n", "tracking"]):
        return "Leap status     : Normal" in said
    return None


def _said(command: Sequence[str]) -> str:
    if shutil.which(command[0]) is None:
        return ""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=3, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def software(_: Ground) -> Iterator[Seen]:
    """Which versions are installed; nothing of it is imported."""
    found, absent = [f"Python {platform.python_version()}"], []
    for name in SOFTWARE:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            absent.append(name)
    yield ok(", ".join(found))
    if absent:
        yield bad(f"{', '.join(absent)}: not installed", "Install Sagittal again: `pip install sagittal`.")
