"""The running parts of a site in; out: whether receiver, web and workers answer, and how the work goes."""

import time
from collections.abc import Collection, Iterator
from functools import partial
from pathlib import Path

import httpx
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError
from sqlalchemy import ColumnElement, Connection, Table, func, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from dicom_nodes import scu
from dicom_nodes.errors import Refused, Unreachable
from dicom_nodes.types import Node
from service import schema
from service.doctor.leases import Held, held, not_renewed
from service.doctor.seen import Ground, Seen, bad, count, listed, ok, warning
from service.doctor.stores import known_shapes, read_only, redis_client, shape_of
from service.jobs import DeliveryState, JobState, SeriesState
from service.ledger_rests import FAILURES_BEFORE_REST
from service.queue import DELIVER, ENCODE, inference_queue, make_app
from service.redis_server import redis_url
from service.running import submodels_to_run
from service.submodel import site_submodels
from service.times import ago

PATIENCE = (0.3, 1.0)
"""Parts of the time of a question that workers have to answer; where not all do, they are asked once more."""
LONG_WAIT_SECONDS = 3600.0
"""A job that nobody has begun for so long is worth a look."""
DEAD_LEASE_SECONDS = 120.0
"""The sweeper takes an expired lease back sooner than that."""
_DAY = 86400.0
_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}
_START = "Start the site with `sagittal up`, and read its log if it does not stay."


def receiver(ground: Ground) -> Iterator[Seen]:
    """Whether our own port answers C-ECHO under our AE title."""
    ours = ground.site.receive
    node = Node(ours.aet, _ANY.get(ours.host, ours.host), ours.port)
    try:
        scu.echo(node, ours.aet, ground.timeout_seconds)
    except Unreachable as error:
        yield bad(str(error), _START)
    except Refused as error:
        if "calling" in error.comment.lower() and ours.accepted_calling_aets:
            yield ok(f"{ours.aet} listens on port {ours.port}, to those in accepted_calling_aets alone")
        else:
            advice = f"See which program holds port {ours.port} (`ss -ltnp`), and end it or choose another port."
            yield bad(f"{error}: is it another DICOM node?", advice)
    else:
        yield ok(f"{ours.aet} answers C-ECHO on port {ours.port}")


def web(ground: Ground) -> Iterator[Seen]:
    """Whether the status page's own /health answers."""
    ours = ground.site.web
    host = _ANY.get(ours.host, ours.host)
    url = f"http://{f'[{host}]' if ':' in host else host}:{ours.port}/health"
    try:
        answer = httpx.get(url, timeout=ground.timeout_seconds, trust_env=False)
        said = answer.json() if answer.headers.get("Content-Type", "").startswith("application/json") else None
    except (httpx.RequestError, ValueError) as error:
        yield bad(f"{url}: {error or type(error).__name__}", _START)
        return
    if not isinstance(said, dict) or "rules_fault" not in said:
        advice = f"See which program holds port {ours.port} (`ss -ltnp`), or read the log of the web process."
        yield bad(f"{url}: HTTP {answer.status_code}, which is not how it answers when all is well", advice)
    elif fault := said["rules_fault"]:
        yield bad(f"the rules are wrong: {fault}", "Correct the file; those of before stay in force until then.")
    else:
        yield ok(url.removesuffix("/health"))


def workers(ground: Ground) -> Iterator[Seen]:
    """Whether somebody serves every queue that this site fills."""
    site = ground.site
    running = submodels_to_run(site_submodels(site.models.submodels, site.home), site.models.run)
    needed = {ENCODE, DELIVER, *(inference_queue(each.name) for each in running)}
    try:
        served = _served(ground, needed)
    except (Unreachable, RedisError, OperationalError, OSError, ValueError):
        yield bad("cannot be asked without Redis", "See to Redis first (above).")
        return
    if served:
        yield ok(f"{count(len(served), 'worker')}: {listed(sorted(served), 6)}")
    answering = {queue for queues in served.values() for queue in queues}
    if missing := sorted({ENCODE, DELIVER} - answering):
        advice = "Start `sagittal up`, or `sagittal worker --role results`: nothing is sent meanwhile."
        yield bad(f"nobody serves {', '.join(missing)}", advice)
    idle = [each.name for each in running if inference_queue(each.name) not in answering]
    busy = _busy(ground) if idle else 0
    if idle and busy:
        yield ok(f"{count(busy, 'worker')} in the midst of a volume, answering after it")
    elif idle:
        advice = "Start `sagittal up`, or `sagittal worker --role inference`: nothing is segmented meanwhile."
        yield bad(f"nobody serves {listed(idle)}", advice)


def _served(ground: Ground, needed: Collection[str]) -> dict[str, tuple[str, ...]]:
    """The queues of each worker that answers; one that is in the midst of a volume does not."""
    url = redis_url(ground.site)
    with redis_client(ground, url) as client:
        client.ping()  # bounded, which Celery's own attempts are not
    served: dict[str, tuple[str, ...]] = {}
    with make_app(url) as app:
        for part in PATIENCE:
            answers = app.control.inspect(timeout=part * ground.timeout_seconds).active_queues() or {}
            for name, queues in answers.items():
                served[str(name).partition("@")[0]] = tuple(str(queue["name"]) for queue in queues)
            if set(needed) <= {queue for queues in served.values() for queue in queues}:
                break
    return served


def _busy(ground: Ground) -> int:
    """How many workers renew their lease on a job that they infer."""
    look = partial(held, ground, schema.jobs.c.state == JobState.INFERRING)
    try:
        owners = {each.owner for each in look()}
        return len(owners - {each.owner for each in not_renewed(look, ground.site.workers.lease_seconds)})
    except (SQLAlchemyError, ImportError):
        return 0


# ── how the work goes ───────────────────────────────────────────────────────────────────────────────────────


def jobs(ground: Ground) -> Iterator[Seen]:
    """What failed lately, what waits, what nobody renews, and which destinations rest; by the ledger."""
    url = make_url(ground.site.ledger_url)
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").is_file():
        yield ok("none yet")
        return
    try:
        with read_only(ground.site, ground.timeout_seconds) as c:
            if shape_of(c) != (known_shapes()[0],):
                yield ok("not counted: the ledger has another schema")
                return
            seen = [*_counted(c), *_resting(c)]
        seen += _left_behind(ground)
    except (SQLAlchemyError, ImportError):
        yield bad("cannot be counted", "See to the ledger first (above).")
        return
    yield from seen or [ok("nothing failed in the last day, and nothing waits")]


def _counted(c: Connection) -> Iterator[Seen]:
    at, t, s = time.time(), schema.jobs, schema.series
    if failed := _number(c, t, t.c.state == JobState.FAILED, t.c.updated_at > at - _DAY):
        advice = "Read why with `sagittal jobs`; `sagittal jobs retry ID` runs one again."
        yield warning(f"{count(failed, 'job')} failed in the last day", advice)
    if failed := _number(c, s, s.c.state == SeriesState.FAILED, s.c.updated_at > at - _DAY):
        advice = "Read why with `sagittal jobs`; `sagittal jobs retry SERIES` routes one again."
        yield warning(f"{count(failed, 'series', 'series')} failed in the last day", advice)
    waits = (t.c.state == JobState.QUEUED, t.c.owner == "")
    oldest = c.execute(select(func.min(t.c.created_at)).where(*waits)).scalar()
    if oldest is not None:
        said = f"{count(_number(c, t, *waits), 'job')} to be begun, the oldest for {ago(at - oldest)}"
        advice = "See that the workers run; if they do, they are too few for what comes."
        yield warning(said, advice) if at - oldest > LONG_WAIT_SECONDS else ok(said)


def _left_behind(ground: Ground) -> list[Seen]:
    """Leases that ran out by our clock: of workers that are gone, or whose clocks are behind ours."""
    late = partial(held, ground, schema.jobs.c.lease_until < time.time() - DEAD_LEASE_SECONDS)
    expired = late()
    # One that is renewed moves on, though by our clock it may have run out all the same.
    dead = not_renewed(late, ground.site.workers.lease_seconds) if expired else frozenset[Held]()
    if dead:
        advice = "See that the receiver runs: its sweeper gives them to another worker."
        return [bad(f"{count(len(dead), 'job')} held by a worker that is gone", advice)]
    if expired:
        advice = "Let one time server keep the clocks of all hosts: results are dated by them."
        return [warning(f"the clock of a worker is more than {ago(DEAD_LEASE_SECONDS)} behind ours", advice)]
    return []


def _resting(c: Connection) -> Iterator[Seen]:
    t, d = schema.rests, schema.deliveries
    query = select(t.c.destination, t.c.why).where(t.c.failures >= FAILURES_BEFORE_REST)
    for name, why in c.execute(query).all():
        waits = _number(c, d, d.c.destination == name, d.c.state == DeliveryState.WAITING)
        advice = "See to it: what waits goes by itself once it answers."
        yield warning(f"destination {name} rests, {count(waits, 'object')} for it: {why}", advice)


def _number(c: Connection, table: Table, *where: ColumnElement[bool]) -> int:
    return int(c.execute(select(func.count()).select_from(table).where(*where)).scalar_one())
