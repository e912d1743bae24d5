"""A site with one job whose real objects are stored, or on their way, for tests of withdrawal."""

from dataclasses import dataclass, field
from pathlib import Path

from pydicom import Dataset, dcmread

from dicom_nodes.encode import ENCODERS
from dicom_nodes.encode.rejection import Rejected, Rejection, encode_rejection
from dicom_nodes.rejection import RejectionNote, Title, read_note
from dicom_nodes.types import Finished, Measurement, Reference, Volume
from service.config import Site
from service.jobfolder import JobFolder
from service.jobs import Delivery, DeliveryState, Job, JobState, ResultObject, SeriesState
from service.ledger import Ledger
from service.ledger_withdrawals import NOTE
from tests.dicom_nodes import seg_sources as made
from tests.service.test_ledger import new_job

D, J = DeliveryState, JobState


@dataclass
class Ward:
    """Files of a series, its job, and the two objects that were made of it."""

    folder: Path
    ledger: Ledger
    destinations: tuple[str, ...] = ("pacs", "viewer")
    site: Site = field(init=False)
    volume: Volume = field(init=False)
    job: Job = field(init=False)
    objects: list[ResultObject] = field(default_factory=list)

    def __post_init__(self) -> None:
        values = [{"name": name, "aet": "A", "host": "127.0.0.1", "port": 9} for name in self.destinations]
        site = Site.model_validate({"receive": {"aet": "SAGITTAL"}, "destination": values})
        self.site = site.model_copy(update={"home": self.folder})
        (self.folder / "source").mkdir(parents=True)
        self.volume = made.classic(self.folder / "source", made.AXIAL)
        self.lay(*self.volume.frames)

    def lay(self, *frames: object) -> None:
        """Put the instances where the SCP puts them."""
        folder = self.site.incoming / self.volume.series_uid
        folder.mkdir(parents=True, exist_ok=True)
        for frame in self.volume.frames:
            if frame in frames:
                (folder / f"{frame.sop_instance_uid}.dcm").write_bytes(frame.path.read_bytes())

    def heard(self) -> "Ward":
        """The series is complete."""
        uid = self.volume.series_uid
        self.ledger.heard(uid, self.volume.study_uid, "MR1", len(self.volume.frames))
        self.ledger.move_series(uid, SeriesState.COMPLETE, "quiet for 5 s")
        return self

    def queued(self) -> "Ward":
        """The series is routed to one job."""
        self.heard()
        job = new_job()
        values = {name: getattr(job, name) for name in Job.__slots__}
        values |= {"series_uid": self.volume.series_uid, "study_uid": self.volume.study_uid}
        self.job = Job(**values)
        JobFolder(self.site.jobs, job.id).save_volume(self.volume)
        self.ledger.route_series(self.volume.series_uid, "1 job", "because", [self.job])
        return self

    def encoded(self) -> "Ward":
        """A SEG for each destination, and a report for the first."""
        self.queued()
        self.ledger.claim_job(self.job.id, J.QUEUED, J.INFERRING, "w1", 30)
        self.ledger.move_job(self.job.id, J.INFERRED, "done", owner="w1")
        self.ledger.claim_job(self.job.id, J.INFERRED, J.INFERRED, "w2", 30)
        measurement = Measurement(1, 12.5, 300.0, 4.0, 4, 1, 4, ())
        of = Finished(made.label_map(self.volume, 1), self.volume, made.identity(), (measurement,))
        seg = ENCODERS["seg"](of, ())
        self.objects = [self._kept("seg", seg), self._kept("text", ENCODERS["text"](of, ()))]
        uids = [each.sop_instance_uid for each in self.objects]
        addressed = dict.fromkeys(self.destinations, uids[:1]) | {self.destinations[0]: uids}
        assert self.ledger.encoded(self.job.id, "w2", self.objects, addressed)
        return self

    def _kept(self, kind: str, dataset: Dataset) -> ResultObject:
        path = JobFolder(self.site.jobs, self.job.id).save_object(kind, dataset)
        uids = (str(dataset.SOPInstanceUID), str(dataset.SOPClassUID), str(dataset.SeriesInstanceUID))
        return ResultObject(uids[0], self.job.id, kind, uids[1], uids[2], str(path), 1000.0)

    def claim(self, destination: str, kind: str = "seg") -> Delivery:
        uid = next(each.sop_instance_uid for each in self.ledger.objects(self.job.id) if each.kind == kind)
        wanted = (destination, uid)
        (delivery,) = (
            d for d in self.ledger.deliveries(self.job.id) if (d.destination, d.sop_instance_uid) == wanted
        )
        claimed = self.ledger.claim_delivery(delivery.id, 60)
        assert claimed is not None
        return claimed

    def stored(self, destination: str, kind: str = "seg", to: DeliveryState = D.DELIVERED) -> "Ward":
        self.ledger.settle_delivery(self.claim(destination, kind), to, "status 0x0000", 0)
        return self

    @property
    def now(self) -> Job:
        job = self.ledger.job(self.job.id)
        assert job is not None
        return job

    @property
    def notes(self) -> dict[str, list[RejectionNote]]:
        """The rejection notes of the job, by the destination that each goes to."""
        found: dict[str, list[RejectionNote]] = {}
        files = {o.sop_instance_uid: Path(o.path) for o in self.ledger.objects(self.job.id) if o.kind == NOTE}
        for each in self.ledger.deliveries(self.job.id):
            if each.sop_instance_uid in files:
                note = read_note(files[each.sop_instance_uid])
                assert note is not None and note.sop_instance_uid == each.sop_instance_uid
                found.setdefault(each.destination, []).append(note)
        return found

    def states(self) -> list[tuple[str, str, str]]:
        """(destination, kind, state) of each delivery."""
        kinds = {o.sop_instance_uid: o.kind for o in self.ledger.objects(self.job.id)}
        all_ = self.ledger.deliveries(self.job.id)
        return [(d.destination, kinds[d.sop_instance_uid], d.state.value) for d in all_]

    def note_on(self, references: dict[str, list[Reference]], title: Title = Title.SAFETY, name: str = "x") -> Path:
        """A rejection note of another system, by series, as a file."""
        rejected = tuple(Rejected(each, series) for series, held in references.items() for each in held)
        at = made.identity().made_at
        like = self.volume.frames[0].path
        note = encode_rejection(Rejection(f"another system {name}", title, "wrong patient", at, rejected, like))
        path = self.folder / f"note-{name}.dcm"
        note.save_as(path, enforce_file_format=True)
        assert dcmread(path).SOPInstanceUID == note.SOPInstanceUID
        return path

    def source_note(self, count: int = 1, **how: object) -> Path:
        """A note on the first `count` instances of the series."""
        frames = self.volume.frames[:count]
        references = [Reference(frame.sop_class_uid, frame.sop_instance_uid) for frame in frames]
        return self.note_on({self.volume.series_uid: references}, **how)  # type: ignore[arg-type]
