"""One volume and what a site has decided in; out: which sub-models run on it and why, or why none does.

Three questions, each with its own room: what kind of volume it is (kinds.py), which body part it shows
(witnesses.py), which rule matches (rules.py, matching.py): the site's own first, then the protocols of the
sub-models that it runs, each system for itself, then those that it runs otherwise. What is in doubt is not guessed.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from dicom_nodes.types import Laterality, Volume
from service.jobs import Urgency
from service.protocol import Protocol, SideRule
from service.routing.bodypart import BodyPart, body_part_of, inside_of, lacks
from service.routing.kinds import Kind, kind_of
from service.routing.matching import Case, failure
from service.routing.rules import Rule, rule_of, shape_of
from service.routing.settings import Routing
from service.routing.sides import both, stated_side
from service.submodel import SubModel

SOME_DAY = datetime(2000, 1, 1, 12)  # noqa: DTZ001  # a site's local time, where nobody asks for one


@dataclass(frozen=True, slots=True)
class Route:
    """One sub-model to run on the volume, for one of its protocols."""

    submodel: str
    protocol: str
    laterality: Laterality | None
    """The side that the header states; None where it states none, or the protocol has no sides."""
    rule: Rule = field(compare=False)
    """The rule that says so."""

    def __str__(self) -> str:
        stated = f", {'right' if self.laterality is Laterality.RIGHT else 'left'}" if self.laterality else ""
        return f"{self.protocol}{stated}, by {self.submodel}"


@dataclass(frozen=True, slots=True)
class Tried:
    """A rule that was asked."""

    rule: str
    failed: str
    """The first condition that did not hold; empty where it matched."""

    def __str__(self) -> str:
        return f"{self.rule}: {self.failed or 'matched'}"


@dataclass(frozen=True, slots=True)
class RouteDecision:
    """Where a volume goes, with every reason."""

    routes: tuple[Route, ...]
    """In the order in which the sub-models are known; none: the volume is unrouted or held."""
    summary: str
    """The decision in one line that a PACS administrator understands."""
    doubtful: bool
    """Whether it is held: a rule says so, or witnesses disagree and the site holds what is in doubt."""
    kind: Kind
    body_part: BodyPart
    sides: tuple[str, ...]
    """What was said of the side, line by line."""
    tried: tuple[Tried, ...]
    refusals: tuple[str, ...]
    """Why a system has no route, where several were asked, line by line."""
    urgency: Urgency
    lacks: str
    """What the other series of the study might tell; empty where they would change nothing."""

    @property
    def reasons(self) -> tuple[str, ...]:
        """One line per witness, per rule ("matched" or the first condition that failed), and for the decision."""
        part = self.body_part
        found = f"{part.agreed[0]} (confidence {part.confidence:.2f})" if part.agreed else f"in doubt: {part.doubt}"
        decided = [f"routed: {route}" for route in self.routes] or [
            f"{'held' if self.doubtful else 'unrouted'}: {self.summary}"
        ]
        return (
            *map(str, part.heard),
            *self.kind.reasons,
            f"kind: {self.kind.summary}",
            f"body part: {found}",
            *self.sides,
            *map(str, self.tried),
            *(self.refusals if self.routes or len(set(self.refusals)) > 1 else ()),
            *decided,
        )


class _Unrouted(Exception):  # an answer, not an error; it never leaves this module
    """Carries the reason out of the steps of a decision."""

    def __init__(self, reason: str, *, doubtful: bool = False, held: bool = False) -> None:
        super().__init__(reason)
        self.doubtful = doubtful
        self.held = held
        """Whether a rule holds it, whatever the site does with doubts."""


def decide(
    volume: Volume,
    routing: Routing,
    *,
    calling_aet: str = "",
    at: datetime = SOME_DAY,
    study: Sequence[frozenset[str]] = (),
) -> RouteDecision:
    """Decide which sub-models serve the volume.

    `study`: for each other series of the study the body part that its own header names, and none where it is in
    doubt. Neither the order of the facts nor those that are no witness change the decision.
    """
    kind = kind_of(volume)
    body_part = body_part_of(volume, routing, study)
    step = _Decision(routing, Case(volume, kind, body_part, calling_aet, at))
    try:
        routes, summary, doubtful = step.routes(), "", False
        summary = "; ".join(map(str, routes))
    except _Unrouted as reason:
        routes, summary = (), str(reason)
        doubtful = reason.held or (reason.doubtful and routing.doubtful == "held")
    lacking = "" if not kind.suited or step.by_site else lacks(body_part, routing)
    return RouteDecision(
        routes,
        summary,
        doubtful,
        kind,
        body_part,
        tuple(step.sides),
        tuple(step.tried),
        tuple(step.refusals),
        step.urgency,
        lacking,
    )


_Asked = tuple[SubModel, Protocol, Rule]


class _Decision:
    """The steps of one decision, and what is written down on the way."""

    def __init__(self, routing: Routing, case: Case) -> None:
        self._routing, self._case = routing, case
        self.tried: list[Tried] = []
        self.sides: list[str] = []
        self.refusals: list[str] = []
        self.by_site = False
        """Whether a rule of the site decided."""
        self.urgency = _stated_urgency(case.volume)

    def routes(self) -> tuple[Route, ...]:
        """The routes, in the order in which the sub-models are known; raises _Unrouted."""
        found = self._by_site_rules()
        if found is None:
            found = self._by_protocols()
        order = [each.name for each in self._routing.known]
        return tuple(sorted(found, key=lambda route: order.index(route.submodel)))

    # ── the site's rules ───────────────────────────────────────────────────────────────────────────────────

    def _by_site_rules(self) -> list[Route] | None:
        """What the first rule that decides says; None where none does."""
        for rule in self._routing.rules:
            failed = failure(rule.when, self._case)
            self.tried.append(Tried(rule.name, failed))
            if failed:
                continue
            self.urgency = max(self.urgency, rule.how_urgent)
            self.by_site = rule.decides
            if rule.skip or rule.hold:
                raise _Unrouted(f'rule "{rule.name}": {rule.skip or rule.hold}', held=bool(rule.hold))
            if rule.run:
                return [self._target(rule, target) for target in rule.run]
        return None

    def _target(self, rule: Rule, target: str) -> Route:
        name, _, wanted = (part.strip() for part in target.partition(":"))
        submodel = next(each for each in self._routing.known if each.name == name)
        if not self._routing.can_run(name):
            raise _Unrouted(f'rule "{rule.name}" wants {name}, and its weights are not installed')
        served = {each.name: each for each in submodel.protocol}
        if wanted:
            protocol: Protocol | None = served[wanted]
        elif len(served) == 1:
            (protocol,) = served.values()
        else:
            protocol = next((served[part] for part in self._case.body_part.agreed if part in served), None)
        if protocol is None:
            said = self._case.body_part.doubt or f"the body part is {self._case.body_part.agreed[0]}"
            raise _Unrouted(f'rule "{rule.name}" wants {name}, and none of its protocols fits: {said}')
        return Route(name, protocol.name, self._side(protocol), rule)

    # ── the protocols of the sub-models ────────────────────────────────────────────────────────────────────

    def _by_protocols(self) -> list[Route]:
        if not (self._routing.systems or self._routing.other_systems):
            raise _Unrouted("this site runs no sub-model")
        found: list[Route] = []
        refused: list[_Unrouted] = []
        for system in self._routing.systems:
            self._ask(system, found, refused)
        for system in self._routing.other_systems:
            if not found and not any(each.doubtful for each in refused):
                self._ask(system, found, refused)
        if not found:
            raise _all_said(refused)
        return found

    def _ask(self, system: Sequence[SubModel], found: list[Route], refused: list[_Unrouted]) -> None:
        try:
            found += self._of_system(system)
        except _Unrouted as reason:
            refused.append(reason)
            if str(reason) not in map(str, refused[:-1]):
                self.refusals.append(f"unrouted by {system[0].system}: {reason}")

    def _of_system(self, submodels: Sequence[SubModel]) -> list[Route]:
        """The routes of one system: those of its innermost protocol that matches; raises _Unrouted."""
        asked = [
            (submodel, protocol, rule_of(submodel.name, protocol, self._routing.not_words(protocol.name)))
            for submodel in submodels
            for protocol in submodel.protocol
        ]
        failed = {rule.name: failure(rule.when, self._case) for _, _, rule in asked}
        self.tried += [Tried(name, said) for name, said in failed.items()]
        self._refuse_unsuited()
        self._refuse_vague(asked)
        for part in self._served(asked):
            matching = [each for each in asked if each[1].name == part and not failed[each[2].name]]
            able = [each for each in matching if self._routing.can_run(each[0].name)]
            if matching and not able:
                names = " and ".join(each[0].name for each in matching)
                raise _Unrouted(f"{part} would be served by {names}, whose weights are not installed")
            if able:
                return [Route(s.name, p.name, self._side(p), rule) for s, p, rule in able]
        nearest = self._served(asked)[0]
        said = next(failed[rule.name] for _, protocol, rule in asked if protocol.name == nearest)
        raise _Unrouted(f"{nearest} is named, but {said}")

    def _refuse_unsuited(self) -> None:
        part = self._case.body_part
        if not self._case.kind.suited:
            raise _Unrouted(self._case.kind.why_not)
        if not part.agreed:
            raise _Unrouted(part.doubt, doubtful=part.contradicted)

    def _served(self, asked: Sequence[_Asked]) -> list[str]:
        """The body part and those around it, up to the first that the system does not serve; raises _Unrouted."""
        served = {protocol.name: protocol for _, protocol, _ in asked}
        unserved: list[str] = []
        found: list[str] = []
        for part in self._case.body_part.agreed:
            if part in served and set(unserved) <= set(served[part].also_for):
                found.append(part)
            else:
                unserved.append(part)
        if not found:
            raise _Unrouted(f"{self._not_served(unserved[0], served.keys())}: {self._told}")
        return found

    def _not_served(self, part: str, served: Iterable[str]) -> str:
        inside = sorted(inside_of(part, self._routing) & set(served))
        return f"only {part} is named, not {' or '.join(inside)}" if inside else f"no sub-model serves {part}"

    @property
    def _told(self) -> str:
        return "; ".join(str(each) for each in self._case.body_part.heard if each.names)

    def _refuse_vague(self, asked: Sequence[_Asked]) -> None:
        """Refuse to guess which part is meant, where the system has a model that one of the parts would want."""
        part = self._case.body_part.agreed[0]
        region = next(each for each in self._routing.regions if each.name == part)
        meant = {protocol.name for _, protocol, _ in asked} & region.includes
        fits = sorted(p.name for _, p, rule in asked if p.name in meant and not failure(shape_of(rule), self._case))
        if region.vague and fits:
            raise _Unrouted(f"only {part} is named, not {' or '.join(fits)}: {self._told}", doubtful=True)

    def _side(self, protocol: Protocol) -> Laterality | None:
        """The side that all witnesses agree on; None where none is stated or both are."""
        if protocol.side is SideRule.NONE:
            return None
        sides, heard = stated_side(self._case.volume, self._routing.vocabulary)
        self._note(*map(str, heard))
        if not sides:
            raise _Unrouted(f"the header contradicts itself on the side: {both(heard)}", doubtful=True)
        if len(sides) == 1:
            return next(iter(sides))
        modifier = protocol.side is SideRule.MODIFIER
        meaning = "the segments carry no side" if modifier else "both sides' labels are kept"
        self._note(f"side not stated: {meaning}")
        return None

    def _note(self, *lines: str) -> None:
        self.sides += [line for line in lines if line not in self.sides]


def _all_said(refused: Sequence[_Unrouted]) -> _Unrouted:
    """What all systems say, each thing once; in doubt where one is."""
    said = list(dict.fromkeys(map(str, refused)))
    return _Unrouted("; ".join(said), doubtful=any(each.doubtful for each in refused))


def _stated_urgency(volume: Volume) -> Urgency:
    """RequestedProcedurePriority (0040,1003): STAT, HIGH; all others are routine."""
    stated = volume.facts.get("RequestedProcedurePriority", "").strip().upper()
    return {"STAT": Urgency.STAT, "HIGH": Urgency.HIGH}.get(stated, Urgency.ROUTINE)
