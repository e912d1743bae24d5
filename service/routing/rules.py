"""`rules.toml` of a site and the protocols of the sub-models in; the rules out, checked whole.

A rule is data: conditions joined by all, any and not, and what follows. Nothing in it is evaluated as a program.
The protocols of the sub-models are rules as well, and come after those of the site. `matching.py` asks them.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import time
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, StringConstraints, field_validator, model_validator

from dicom_nodes.errors import ConfigurationError
from dicom_nodes.facts import FACT_NAMES
from dicom_nodes.types import Plane
from service.jobs import Urgency
from service.label import Bounds, Table, Text
from service.protocol import Protocol
from service.routing.kinds import KIND_NAMES
from service.routing.ranking import BEST, known_order
from service.submodel import SubModel
from service.tomlfile import line_of, read_toml


def _listed(value: object) -> object:
    """One value is a list of one."""
    return (value,) if isinstance(value, (str, int, float)) else value


Texts = Annotated[tuple[Text, ...], BeforeValidator(_listed)]
Planes = Annotated[tuple[Plane, ...], BeforeValidator(_listed)]
ClockTime = Annotated[str, StringConstraints(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")]


class Hours(Table):
    """A time of day, from one o'clock up to another; over midnight where the second is the earlier."""

    since: ClockTime
    until: ClockTime

    def hold(self, at: time) -> bool:
        """Whether a time of day lies in them."""
        begin, end = time.fromisoformat(self.since), time.fromisoformat(self.until)
        return begin <= at < end if begin <= end else at >= begin or at < end


class TagTest(Table):
    """What the value of an attribute must be: like one of some patterns, or a number between bounds."""

    like: Texts = ()
    """Patterns of the whole value or of one of several; `*` stands for any letters, case does not count."""
    least: float | None = None
    most: float | None = None

    @model_validator(mode="after")
    def _asks_something(self) -> "TagTest":
        if not self.like and self.least is None and self.most is None:
            raise ValueError("allowed are a text, a list of texts, or a table with least, most or both")
        return self


def _tag_test(value: object) -> object:
    return {"like": value} if isinstance(value, (str, list)) else value


class Condition(Table):
    """What a volume must be; all keys of one table must hold."""

    all: tuple["Condition", ...] = ()
    any: tuple["Condition", ...] = ()
    not_: Annotated["Condition | None", Field(alias="not")] = None
    body_part: Texts = ()
    """One of these is the body part, or lies around it and nothing nearer is served."""
    plane: Planes = ()
    kind: Texts = ()
    """Each of these is said of the volume, as "T2" or "not fat suppressed" (service/routing/kinds.py)."""
    tag: dict[str, Annotated[TagTest, BeforeValidator(_tag_test)]] = Field(default_factory=dict)
    without_words: Texts = ()
    """No text of the header has one of these words (patterns as in service/routing/vocabulary.py)."""
    words: Texts = ()
    """A text of the header has one of these words."""
    slices: Bounds | None = None
    pitch_mm: Bounds | None = None
    across_mm: Bounds | None = None
    """Covered length along the slice normal."""
    in_plane_mm: Bounds | None = None
    """Longer side of the field of view."""
    pixel_mm: Bounds | None = None
    oblique_degrees: Bounds | None = None
    calling_aet: Texts = ()
    station: Texts = ()
    hours: Hours | None = None

    @field_validator("kind")
    @classmethod
    def _kinds_are_known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := [name for name in names if name.removeprefix("not ") not in KIND_NAMES]:
            raise ValueError(
                f"{unknown[0]!r} is no kind; allowed are {_listing(KIND_NAMES)}, each also after 'not'"
            )
        return names

    @field_validator("tag")
    @classmethod
    def _tags_are_read(cls, tags: dict[str, TagTest]) -> dict[str, TagTest]:
        if unknown := [keyword for keyword in tags if keyword not in FACT_NAMES]:
            raise ValueError(f"{unknown[0]!r} is not read by routing; allowed are {_listing(FACT_NAMES)}")
        return tags


class Rule(Table):
    """One rule: for which volumes it is, and what becomes of them."""

    name: Text
    priority: int = 0
    """The greater is asked first; equal ones in the order of the file."""
    when: Condition = Condition()
    run: Texts = ()
    """Sub-models, each as "mrannotator-spine" or with its protocol, "mrannotator-spine: lumbar"."""
    skip: Text | None = None
    """Leave the volume unrouted, for this reason."""
    hold: Text | None = None
    """Hold the series for a person, for this reason."""
    urgency: Literal["high", "stat"] | None = None
    """Alone, it changes only how soon the job is wanted, and the next rule is asked."""
    one_per: Literal["volume", "series", "study"] = "series"
    """Run every volume that matches, the best of those of a series at one place, or the one best of the study."""
    best: Annotated[Texts, Field(min_length=1)] = BEST
    """What makes a volume better, the most important first (service/routing/ranking.py)."""

    @field_validator("best")
    @classmethod
    def _orders_are_known(cls, orders: tuple[str, ...]) -> tuple[str, ...]:
        for order in orders:
            if fault := known_order(order):
                raise ValueError(fault)
        return orders

    @model_validator(mode="after")
    def _has_one_outcome(self) -> "Rule":
        outcomes = [name for name in ("run", "skip", "hold") if getattr(self, name)]
        if len(outcomes) > 1:
            raise ValueError(f"{' and '.join(outcomes)} stand in one rule; allowed is one of run, skip and hold")
        if not outcomes and self.urgency is None:
            raise ValueError("nothing follows from this rule; it needs one of run, skip, hold and urgency")
        return self

    @property
    def decides(self) -> bool:
        """Whether it ends the asking, rather than only setting the urgency."""
        return bool(self.run or self.skip or self.hold)

    @property
    def how_urgent(self) -> Urgency:
        """Its urgency as the ledger counts it."""
        return Urgency[(self.urgency or "routine").upper()]


class RuleFile(Table):
    """The whole of a rules.toml."""

    rule: tuple[Rule, ...] = ()


def read_rules(path: Path, known: Sequence[SubModel], regions: Iterable[str]) -> tuple[Rule, ...]:
    """Read a site's rules, in the order in which they are asked.

    Raises:
        ConfigurationError: each fault with file, line, key and what is allowed.
    """
    rules = read_toml(path, RuleFile).rule
    text = path.read_text(encoding="utf-8")
    faults = [
        f"{path}, line {line_of(text, location)}: {'.'.join(_shown(location))}: {fault}"
        for number, rule in enumerate(rules)
        for location, fault in _faults(("rule", number), rule, known, frozenset(regions))
    ]
    names = [rule.name for rule in rules]
    for number, name in enumerate(names):
        if name in names[:number]:
            location = ("rule", number, "name")
            faults.append(f"{path}, line {line_of(text, location)}: rule.{number + 1}.name: {name!r} stands twice")
    if faults:
        raise ConfigurationError("\n".join(faults))
    return tuple(sorted(rules, key=lambda rule: -rule.priority))


Location = tuple[int | str, ...]


def _faults(
    here: Location, rule: Rule, known: Sequence[SubModel], regions: frozenset[str]
) -> Iterator[tuple[Location, str]]:
    for target in rule.run:
        if fault := target_fault(target, known):
            yield (*here, "run"), fault
    for location, part in _body_parts((*here, "when"), rule.when):
        if part not in regions:
            yield location, f"{part!r} is no body part that is known here; allowed are {_listing(regions)}"


def _body_parts(here: Location, condition: Condition) -> Iterator[tuple[Location, str]]:
    yield from (((*here, "body_part"), part) for part in condition.body_part)
    for key, inner in (("all", condition.all), ("any", condition.any)):
        for number, each in enumerate(inner):
            yield from _body_parts((*here, key, number), each)
    if condition.not_ is not None:
        yield from _body_parts((*here, "not"), condition.not_)


def target_fault(target: str, known: Sequence[SubModel]) -> str | None:
    """What is wrong with an entry of `run`; None where it names a sub-model, and a protocol that it serves."""
    name, _, protocol = (part.strip() for part in target.partition(":"))
    able = {each.name: each for each in known if each.protocol and not each.obsolete}
    if name not in able:
        return f"no sub-model is called {name!r}; allowed are {_listing(able)}"
    served = [each.name for each in able[name].protocol]
    if protocol and protocol not in served:
        return f"{name} serves no protocol {protocol!r}; allowed are {_listing(served)}"
    return None


def _listing(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))


def _shown(location: Location) -> list[str]:
    return [f"{part + 1}" if isinstance(part, int) else part for part in location]


@cache
def rule_of(submodel: str, protocol: Protocol, not_words: tuple[str, ...]) -> Rule:
    """The rule that a protocol of a sub-model is; `not_words` are those of all known sub-models for it."""
    asked = [
        Condition(kind=protocol.kinds),
        Condition(body_part=(protocol.name,)),
        Condition(without_words=not_words),
        *_shape(protocol),
    ]
    return Rule(
        name=f"{submodel} {protocol.name}",
        when=Condition(all=tuple(asked)),
        run=(f"{submodel}: {protocol.name}",),
        one_per=protocol.one_per,
        best=protocol.best or BEST,
    )


def _shape(protocol: Protocol) -> tuple[Condition, ...]:
    field, stack = protocol.in_plane_mm, protocol.across_mm
    return (
        Condition(plane=protocol.planes),
        Condition(slices=Bounds(least=protocol.minimum_slices)),
        Condition(in_plane_mm=Bounds(least=field.least, most=field.most)),
        Condition(across_mm=Bounds(least=stack.least, most=stack.most)),
    )


def shape_of(rule: Rule) -> Condition:
    """What the rule of a protocol asks of the shape of a volume alone."""
    return Condition(all=tuple(each for each in rule.when.all if not (each.kind or each.body_part)))
