"""What is done of a part of the work in; stage and per cent of the whole, never falling, out."""

from collections.abc import Callable
from dataclasses import dataclass

Report = Callable[[str, int], None]
"""Called with the stage ("read", "load model", "preprocess", "network" or "resample") and the whole's per cent."""

_STAGES = {"preprocess": (0.0, 0.1), "network": (0.1, 0.85), "resample": (0.85, 1.0)}
"""Where the stages of one network lie within it."""


@dataclass(frozen=True, slots=True)
class Progress:
    """A part of the whole work, from `first` to `last`, both 0 to 1, and who wants to hear of it."""

    report: Report
    first: float = 0.0
    last: float = 1.0

    def part(self, first: float, last: float) -> "Progress":
        """The part of this from `first` to `last`, both 0 to 1."""
        whole = self.last - self.first
        return Progress(self.report, self.first + whole * first, self.first + whole * last)

    def share(self, index: int, count: int) -> "Progress":
        """One of `count` equal parts of this."""
        return self.part(index / count, (index + 1) / count)

    def say(self, stage: str, fraction: float) -> None:
        """Tell of the stage, and how much of this part is done; what the listener raises ends it."""
        self.report(stage, int(100 * (self.first + (self.last - self.first) * fraction) + 1e-9))

    def __call__(self, stage: str, fraction: float) -> None:
        """Tell of a network's own stages, as its `predict` does."""
        first, last = _STAGES[stage]
        self.say(stage, first + (last - first) * fraction)
