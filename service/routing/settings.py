"""All that a site decides about where volumes go, as one value."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Literal

from service.routing.rules import Rule
from service.routing.vocabulary import Vocabulary, shipped_vocabulary
from service.routing.witnesses import Region, regions
from service.running import OTHERWISE_BY_DEFAULT, RUN_BY_DEFAULT, submodels_to_run
from service.submodel import SubModel


@dataclass(frozen=True)
class Routing:
    """All that a site decides about where volumes go."""

    known: tuple[SubModel, ...]
    run: tuple[str, ...] = RUN_BY_DEFAULT
    otherwise: tuple[str, ...] = OTHERWISE_BY_DEFAULT
    """Sub-models for what none of `run` serves, the first system that serves it."""
    rules: tuple[Rule, ...] = ()
    """The site's own, in the order in which they are asked."""
    able: frozenset[str] | None = None
    """The sub-models whose weights are installed; None: all."""
    least_confidence: float = 1.0
    doubtful: Literal["held", "unrouted"] = "held"
    vocabulary: Vocabulary = field(default_factory=shipped_vocabulary)

    @cached_property
    def regions(self) -> tuple[Region, ...]:
        """Every body part that has a name here."""
        return _regions(self.vocabulary, self.known)

    @cached_property
    def systems(self) -> tuple[tuple[SubModel, ...], ...]:
        """The sub-models of `run`, system by system."""
        return _by_system(submodels_to_run(self.known, self.run))

    @cached_property
    def other_systems(self) -> tuple[tuple[SubModel, ...], ...]:
        """Those of `otherwise`, in the order of its entries, without what runs already."""
        running = {each.name for system in self.systems for each in system}
        chosen = [each for entry in self.otherwise for each in submodels_to_run(self.known, (entry,))]
        return _by_system([each for each in dict.fromkeys(chosen) if each.name not in running])

    def can_run(self, submodel: str) -> bool:
        """Whether its weights are installed."""
        return self.able is None or submodel in self.able

    def not_words(self, protocol: str) -> tuple[str, ...]:
        """The words of all known sub-models that show that a protocol is not meant."""
        return tuple(
            word for each in self.known for p in each.protocol if p.name == protocol for word in p.not_words
        )


@lru_cache(maxsize=8)
def _regions(vocabulary: Vocabulary, known: tuple[SubModel, ...]) -> tuple[Region, ...]:
    return regions(vocabulary, known)


def _by_system(submodels: Sequence[SubModel]) -> tuple[tuple[SubModel, ...], ...]:
    systems = dict.fromkeys(each.system for each in submodels)
    return tuple(tuple(each for each in submodels if each.system == system) for system in systems)
