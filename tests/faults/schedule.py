"""A seed in; which faults strike when, for how long and whom, out. Pure, and the same for the same arguments."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

WORKERS = ("inference-1", "inference-2", "results")


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong."""

    at_seconds: float
    """After the load began."""
    kind: str
    """A key of `KINDS`."""
    target: str
    """The process that it strikes, or empty."""
    seconds: float
    """How long it lasts; 0 for what is over at once."""
    amount: float = 0.0
    """Seconds by which a clock is set, bytes before an abort: by kind."""

    def __str__(self) -> str:
        lasts = f" for {self.seconds:.0f} s" if self.seconds else ""
        amount = f" by {self.amount:+.0f}" if self.amount else ""
        return f"{self.at_seconds:5.1f} s  {self.kind} {self.target}{amount}{lasts}"


@dataclass(frozen=True, slots=True)
class Kind:
    """How a kind of fault is drawn."""

    targets: tuple[str, ...] = ("",)
    seconds: tuple[float, float] = (0.0, 0.0)
    amounts: tuple[float, ...] = (0.0,)
    also: int = 0
    """How many more of it a run may have."""


KINDS: dict[str, Kind] = {
    "kill receiver": Kind(("receiver",), also=2),
    "kill inference": Kind(WORKERS[:2], also=1),
    "kill results": Kind(("results",), also=1),
    "kill web": Kind(("web",)),
    "kill redis": Kind(("redis",)),
    "stop": Kind(("inference-1", "inference-2", "results", "receiver"), (6.0, 10.0), also=1),
    "flush redis": Kind(("redis",), also=1),
    "disk full": Kind(("incoming",), (3.0, 6.0)),
    "archive down": Kind(("archive",), (3.0, 8.0)),
    "archive slow": Kind(("archive",), (4.0, 8.0)),
    "archive refuses": Kind(("archive",), (3.0, 6.0)),
    "archive aborts": Kind(("archive",), (3.0, 6.0), (500.0, 5_000.0, 9_000.0)),
    "archive mute": Kind(("archive",), (3.0, 6.0)),
    "cut network": Kind(("",), (4.0, 8.0)),
    "set clock": Kind(WORKERS, (8.0, 15.0), (-120.0, -15.0, 15.0, 120.0)),
    "crash postgresql": Kind(("postgresql",), (2.0, 6.0), also=1),
}
"""Every kind that can be inflicted on this machine and this site strikes at least once in a run."""
LEAD_SECONDS = 2.0
"""Before the first fault."""


def schedule(seed: int, seconds: float, kinds: Sequence[str]) -> tuple[Fault, ...]:
    """Faults of these kinds over so many seconds, in order of time."""
    rng = random.Random(seed)
    wanted = list(kinds)
    for kind in kinds:
        wanted += [kind] * rng.randint(0, KINDS[kind].also)
    rng.shuffle(wanted)
    slot = (seconds - LEAD_SECONDS) / len(wanted)
    return tuple(
        _drawn(rng, kind, LEAD_SECONDS + slot * (number + rng.random())) for number, kind in enumerate(wanted)
    )


def _drawn(rng: random.Random, name: str, at_seconds: float) -> Fault:
    kind = KINDS[name]
    return Fault(at_seconds, name, rng.choice(kind.targets), rng.uniform(*kind.seconds), rng.choice(kind.amounts))
