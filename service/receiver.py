"""The receiver process: instances in from the network; complete series, their jobs and hints of work out.

Three threads beside the SCP's own: this one keeps the assembler and the ledger, one routes complete series, one
sweeps. What they share is the ledger and one queue of news; a restart rebuilds the assembler from disk and ledger.
"""

import logging
import queue
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dicom_nodes.admission import Shares
from dicom_nodes.ending import GRACE_SECONDS
from dicom_nodes.errors import Refused, Unreachable
from dicom_nodes.filing import remove_unfinished, series_instances
from dicom_nodes.negotiation import ScpSettings
from dicom_nodes.scp import StorageScp
from dicom_nodes.scu import count_instances
from dicom_nodes.types import AssociationEnded, CommitmentReport, Instance, InstanceRefused
from service.assemble import Abandoned, Assembler, AssemblyPolicy, Completed, SeriesRef
from service.config import Site, read_site
from service.deletion import Retainer
from service.disk import DiskWatch, disk_watch
from service.dispatch import dispatch, wake_waiting
from service.jobs import IllegalTransitionError, SeriesState
from service.leaps import Leaps, clock_file
from service.ledger import OPEN, Ledger, open_ledger
from service.observe import event, log_to_stderr
from service.queue import Hints
from service.recovery import REFUSED, found_on_disk, is_unchanged, was_told_all
from service.redis_server import redis_url
from service.rejections import Notes, hold_to_rejections
from service.removal import finish_deletions
from service.routing.site import SiteRouting
from service.submodel import SubModel, site_submodels
from service.sweep import Sweeper
from service.withdrawal import supersede_partial

log = logging.getLogger(__name__)

News = Instance | AssociationEnded | InstanceRefused | tuple[str, int]
"""An instance, the end of an association, a refusal, or the PACS's count for a series."""

MIB = 2**20
TICK_SECONDS = 0.1
SWEEP_SECONDS = 1.0
LAST_SECONDS = 0.5
"""When it stops: for what came in the last moments to reach the ledger."""


@dataclass(slots=True)
class _Gathered:
    """What has come of one series."""

    last: Instance
    sop_instance_uids: set[str]
    association: str = OPEN


class Receiver:
    """One site's receiver; `run` returns when `stop` is set."""

    def __init__(
        self,
        site: Site,
        ledger: Ledger,
        submodels: Sequence[SubModel],
        hints: Hints,
        now: Callable[[], float] = time.monotonic,
        disk: DiskWatch | None = None,
    ) -> None:
        self._site, self._ledger = site, ledger
        self._disk = disk or disk_watch(site)
        self._retainer = Retainer(site, ledger, self._disk, leaps=Leaps(clock_file(site)))
        self._routing = SiteRouting(site, submodels)
        self._sweeper = Sweeper(site, ledger, hints, self._disk)
        self._news: queue.SimpleQueue[News] = queue.SimpleQueue()
        self._at_once = threading.Event()
        """Not to be kept until the next tick: a series may be complete."""
        self._assembler = Assembler(_policy(site), now)
        self._gathered: dict[str, _Gathered] = {}
        """What has come of every series that is not complete yet."""
        self._unwritten: set[str] = set()
        self._decided: deque[Completed | Abandoned] = deque()
        """What the assembler has decided and the ledger does not know yet."""
        self._notes = Notes(site, ledger)
        self._to_route = threading.Event()
        self.stop = threading.Event()
        self._scp = StorageScp(
            _scp_settings(site),
            site.incoming,
            heard=self._news.put,
            ended=self._tell_at_once,
            refused=self._news.put,
            reported=self._reported,
            no_room=self._disk.no_room,
        )

    @property
    def port(self) -> int:
        """The port that the SCP listens on."""
        return self._scp.port

    def run(self) -> None:
        """Receive, assemble, route and sweep until told to stop."""
        self._recover()
        self._scp.start()
        event(log, logging.INFO, "receiving", aet=self._site.receive.aet, port=self._scp.port)
        threads = [threading.Thread(target=work, name=work.__name__) for work in (self._route, self._sweep)]
        for thread in threads:
            thread.start()
        try:
            while not self.stop.is_set():
                self._keep_alive(self._tick)
        finally:
            self.stop.set()
            self._scp.stop(GRACE_SECONDS)
            self._take_the_last()
            self._to_route.set()
            for thread in threads:
                thread.join()

    # ── news → assembler → ledger ──────────────────────────────────────────────────────────────────────────

    def _recover(self) -> None:
        """Know again of everything on disk that the ledger does not hold as complete."""
        self._site.incoming.mkdir(parents=True, exist_ok=True)
        finish_deletions(self._site, self._ledger)
        unfinished = remove_unfinished(self._site.incoming)
        found = found_on_disk(self._site.incoming, self._ledger)
        for series_uid, instances in found.items():
            for instance in instances:
                self._notes.put(instance)
            told = was_told_all(self._site.incoming / series_uid, self._ledger)
            self._assembler.recall(instances, interrupted=not told)
            self._gathered[series_uid] = _Gathered(
                instances[-1], {instance.sop_instance_uid for instance in instances}
            )
            self._unwritten.add(series_uid)
        event(log, logging.INFO, "recovered", series=len(found), unfinished_files_removed=unfinished)
        self._notes.hear()
        self._write()
        self._to_route.set()

    def _tell_at_once(self, news: News) -> None:
        self._news.put(news)
        self._at_once.set()

    def _tick(self) -> None:
        """Take what came in a while together: a thread that wakes for each instance takes time from the SCP's."""
        self._at_once.wait(TICK_SECONDS)
        self._at_once.clear()
        for _ in range(self._news.qsize()):
            self._take(self._news.get_nowait())
        self._notes.hear()  # before the ledger knows of their files: a restart between the two finds them again
        self._write()
        self._decided.extend(self._assembler.due())
        while self._decided:
            self._settle(self._decided[0])
            self._decided.popleft()
        for wanted in self._assembler.queries():
            threading.Thread(target=self._ask, args=(wanted,), name="count", daemon=True).start()

    def _take_the_last(self) -> None:
        """Bring the ledger up to what came while the SCP stopped; what it does not hear of is found on disk."""
        until = time.monotonic() + LAST_SECONDS
        self._at_once.set()
        self._keep_alive(self._tick)
        while not self._news.empty() and time.monotonic() < until:
            self._keep_alive(self._tick)

    def _settle(self, decided: Completed | Abandoned) -> None:
        """Write down that a series is complete or given up; the assembler says it only once."""
        self._gathered.pop(decided.series_uid, None)
        state, why, level = SeriesState.COMPLETE, "", logging.INFO
        if isinstance(decided, Completed):
            why = decided.evidence
        elif is_unchanged(self._site.incoming / decided.series_uid, self._ledger):
            why = f"{decided.reason}; nothing had come that was not there before"
        else:
            state, level = SeriesState.FAILED, logging.ERROR
            why = f"{decided.reason}. If it is whole all the same: sagittal jobs retry {decided.series_uid}"
            supersede_partial(self._ledger, decided.series_uid, decided.reason)
        try:
            self._ledger.move_series(decided.series_uid, state, why)
        except IllegalTransitionError as error:
            event(log, logging.WARNING, "an operator was faster", why=str(error))
            return
        event(log, level, state.value, series_uid=decided.series_uid, instances=decided.instances, why=why)
        self._to_route.set()

    def _take(self, news: News) -> None:
        match news:
            case Instance():
                self._gather(news)
            case AssociationEnded():
                self._assembler.association_ended(news)
                for series_uid in news.series_uids & self._gathered.keys():
                    lacks = self._assembler.lacks_refused(series_uid)
                    self._gathered[series_uid].association = REFUSED if lacks else news.ending
                    self._unwritten.add(series_uid)
                event(log, logging.INFO, "association", ended=news.ending.value, calling_aet=news.calling_aet)
            case InstanceRefused():
                if news.series_uid in self._gathered:  # so that a restart does not take the rest for the whole
                    self._gathered[news.series_uid].association = REFUSED
                    self._unwritten.add(news.series_uid)
                if news.series_uid and not self._assembler.refused(news.series_uid, news.sop_instance_uid):
                    return  # on record once for each series: a full disk is not filled with that
                self._ledger.refused(news.calling_aet, news.sop_instance_uid, news.status, news.reason)
                event(log, logging.WARNING, "refused", calling_aet=news.calling_aet, reason=news.reason)
            case (series_uid, count):
                self._assembler.expected(series_uid, count)

    def _gather(self, instance: Instance) -> None:
        gathered = self._gathered.get(instance.series_uid)
        if gathered is None:
            # Perhaps a late one: what came before it is part of the count, too.
            earlier = list(series_instances(instance.path.parent))
            self._assembler.recall(earlier)
            gathered = _Gathered(instance, {known.sop_instance_uid for known in earlier})
            self._gathered[instance.series_uid] = gathered
        self._notes.put(instance)
        self._assembler.heard(instance)
        gathered.last, gathered.association = instance, OPEN
        gathered.sop_instance_uids.add(instance.sop_instance_uid)
        self._unwritten.add(instance.series_uid)

    def _write(self) -> None:
        """Bring the ledger up to what has arrived; what fails here is written at the next tick."""
        for series_uid in list(self._unwritten):
            gathered = self._gathered[series_uid]
            last, count = gathered.last, len(gathered.sop_instance_uids)
            self._ledger.heard(series_uid, last.study_uid, last.calling_aet, count, gathered.association)
            self._unwritten.discard(series_uid)

    def _reported(self, report: CommitmentReport) -> bool:
        """Write down at once what a destination says of what it stored; False where it was not asked."""
        known = self._ledger.commitment_reported(report)
        committed, failed = len(report.committed), len(report.failed)
        event(log, logging.INFO, "commitment", by=report.said_by, committed=committed, failed=failed, known=known)
        return known

    def _ask(self, wanted: SeriesRef) -> None:
        assert self._site.query is not None  # the assembler asks only where a query node is configured
        try:
            count = count_instances(
                self._site.query.node, self._site.receive.aet, wanted.study_uid, wanted.series_uid
            )
        except (Unreachable, Refused) as error:
            event(log, logging.WARNING, "the PACS gave no count", series_uid=wanted.series_uid, why=str(error))
        else:
            if count is not None:
                self._tell_at_once((wanted.series_uid, count))

    # ── the two other threads ──────────────────────────────────────────────────────────────────────────────

    def _route(self) -> None:
        while not self.stop.is_set():
            self._keep_alive(self._route_complete)
            self._to_route.wait(SWEEP_SECONDS)
            self._to_route.clear()

    def _route_complete(self) -> None:
        if self._disk.stopped("jobs"):
            return
        wake_waiting(self._site, self._ledger)
        for series in self._ledger.series_to_route():
            if self.stop.is_set():
                return
            try:
                dispatch(self._site, self._ledger, self._routing.now(), series)
                hold_to_rejections(self._site, self._ledger, series.series_uid)  # of which it did not know
                self._sweeper.tell_of_jobs()  # at once: the next sweep may be a second away
            except Unreachable as error:
                event(log, logging.WARNING, "the queue could not be told; the sweeper will", why=str(error))
            except IllegalTransitionError as error:
                event(log, logging.INFO, "a late instance was faster than routing", why=str(error))
            except Exception as error:  # one series must not stop the others; it ends visibly
                log.exception("routing broke", extra={"fields": {"series_uid": series.series_uid}})
                reason = f"routing failed: {type(error).__name__}: {error}"
                self._ledger.move_series(series.series_uid, SeriesState.FAILED, reason)

    def _sweep(self) -> None:
        while not self.stop.wait(SWEEP_SECONDS):
            self._notes.once_more()
            self._keep_alive(self._sweeper.sweep)
            self._keep_alive(self._retainer.bite)

    def _keep_alive(self, work: Callable[[], None]) -> None:
        """Run one round of a thread's work; a round that fails is logged, and the next one tries again."""
        try:
            work()
        except Unreachable as error:
            event(log, logging.WARNING, str(error))
        except Exception:  # the process keeps itself alive; the ledger still holds what was not done
            log.exception("a round failed")
            self.stop.wait(1.0)


def _policy(site: Site) -> AssemblyPolicy:
    rules = site.assembly
    return AssemblyPolicy(
        quiet_seconds=rules.quiet_seconds,
        quiet_seconds_by_aet=dict(rules.quiet_seconds_by_aet),
        abandoned_seconds=rules.abandoned_seconds,
        incomplete_seconds=rules.incomplete_seconds,
        query_node=site.query is not None,
    )


def _scp_settings(site: Site) -> ScpSettings:
    receive = site.receive
    return ScpSettings(
        aet=receive.aet,
        host=receive.host,
        port=receive.port,
        accepted_calling_aets=frozenset(receive.accepted_calling_aets),
        require_called_aet=receive.require_called_aet,
        max_associations=receive.max_associations,
        shares=Shares(receive.share, dict(receive.max_associations_by_aet)),
        max_in_flight_bytes=receive.max_in_flight_mb * MIB,
        other_storage=receive.other_storage,
    )


def main(site_file: Path) -> None:
    """Run the receiver of a site until SIGTERM or SIGINT."""
    log_to_stderr("receiver")
    site = read_site(site_file)
    submodels = site_submodels(site.models.submodels, site.home)
    ledger = open_ledger(site.ledger_url, actor="receiver")
    receiver = Receiver(site, ledger, submodels, Hints(redis_url(site)))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: receiver.stop.set())
    receiver.run()
    ledger.close()
