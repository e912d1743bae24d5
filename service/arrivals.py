"""What has arrived of one series, by which associations, and what the counts say of it."""

from dataclasses import dataclass, field

from dicom_nodes.types import Ending, Instance


@dataclass(slots=True)
class Association:
    """The part of one association in one series."""

    first: int
    last: int
    """The numbers, in order of arrival, of the first and the last instance of the series that it brought."""
    ending: Ending | None
    """None while it is open."""


@dataclass(slots=True)
class Arrivals:
    """One series that is being received; the assembler alone changes it."""

    study_uid: str
    touched_at: float
    """When the last instance came or the last of its associations ended."""
    uids: set[str] = field(default_factory=set)
    declared: set[int] = field(default_factory=set)
    """The counts that the objects state."""
    aets: set[str] = field(default_factory=set)
    associations: dict[str, Association] = field(default_factory=dict)
    heard: int = 0
    """Instances that came, those that came twice counted twice."""
    pacs_count: int | None = None
    """What the PACS lists; None where it gave no answer or does not know the series."""
    asked_at_heard: int = -1
    """`heard` when the PACS was last asked."""

    def add(self, instance: Instance) -> None:
        """Count an instance, as a new one only once."""
        self.uids.add(instance.sop_instance_uid)
        self.aets.add(instance.calling_aet)
        if instance.declared_count is not None:
            self.declared.add(instance.declared_count)

    @property
    def is_open(self) -> bool:
        """Whether an association that brought some of it has not ended."""
        return any(each.ending is None for each in self.associations.values())

    @property
    def broken(self) -> Ending | None:
        """How the association ended that broke the series off, if no later one was released."""
        ended = self.associations.values()
        newest = max((each.first for each in ended if each.ending is Ending.RELEASED), default=-1)
        broken = (each for each in ended if each.ending in (Ending.ABORTED, Ending.LOST))
        return next((each.ending for each in broken if each.last >= newest), None)

    @property
    def agreed(self) -> str | None:
        """Which count agrees with what arrived; None where none does."""
        arrived = len(self.uids)
        if self.pacs_count == arrived:
            return f"{arrived} of {self.pacs_count} instances by the PACS"
        if self.declared == {arrived} and not self.lacks:
            return f"{arrived} of {arrived} instances by the objects' own count"
        return None

    @property
    def lacks(self) -> bool:
        """Whether the PACS lists more instances than arrived."""
        return self.pacs_count is not None and self.pacs_count > len(self.uids)

    @property
    def expected(self) -> int | None:
        """How many there should be, by the PACS, else by the objects; None where neither says."""
        return self.pacs_count or (next(iter(self.declared)) if len(self.declared) == 1 else None)
