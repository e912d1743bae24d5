"""The known sub-models and the entries of `[models] run` in; out: those that the site runs."""

from collections.abc import Sequence
from fnmatch import fnmatchcase

from service.submodel import SubModel

RUN_BY_DEFAULT = ("mrannotator-*",)
OTHERWISE_BY_DEFAULT = ("mrsegmentator", "totalsegmentator-total-mr")


def submodels_to_run(known: Sequence[SubModel], entries: Sequence[str] = RUN_BY_DEFAULT) -> tuple[SubModel, ...]:
    """The sub-models that an entry names, in the order in which they are known.

    A variant does the work of another sub-model: a pattern never chooses it, only its own name does. What is
    obsolete or serves no protocol never runs.
    """
    return tuple(each for each in known if _can_run(each) and any(_names(entry, each) for entry in entries))


def fault_of(known: Sequence[SubModel], entries: Sequence[str]) -> str | None:
    """What is wrong with the first entry that chooses nothing, and what there is; None where every one chooses."""
    for entry in entries:
        if submodels_to_run(known, (entry,)):
            continue
        if stopped := next((each for each in known if each.name == entry), None):
            why = f"is obsolete: {stopped.network[0].obsolete}" if stopped.obsolete else "serves no protocol"
            return f"{entry!r} cannot be run: it {why}"
        names = ", ".join(each.name for each in known if _can_run(each))
        return f"no sub-model is called {entry!r}; there are {names}"
    return None


def _can_run(submodel: SubModel) -> bool:
    return bool(submodel.protocol) and not submodel.obsolete


def _names(entry: str, submodel: SubModel) -> bool:
    return submodel.name == entry or (not submodel.variant_of and fnmatchcase(submodel.name, entry))
