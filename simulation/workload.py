"""From a scenario and a seed to a plan: who is told to issue what, when. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, TypeVar

from bus.errors import BadInput
from bus.identifiers import SECRETARIAT, IdentifierSource
from bus.instants import DAY, HOUR, Instant, instant_from_text
from bus.messages.case_file import CaseFile, Person
from bus.messages.correspondence import Answer, ReviewQuestion
from ncb_nodes.orders import (
    ALL_MEMBERS,
    AnyOrder,
    IssueAmendment,
    IssueDiffusion,
    IssueInformationReply,
    IssueMessage,
    IssueWithdrawal,
    RepeatStatement,
)
from secretariat.screening import person_key
from simulation.abuses.catalogue import abuse_named, is_octets_file
from simulation.canaries import canaries_of
from simulation.persons import CaseFiles
from simulation.plan import Plan, Step, Truth
from simulation.scenario import Alert, Background, Defect, Event, Scenario, span

K = TypeVar("K")

MATCHING_KEY_BYTES: Final = 32
_CLOSING_DEFECTS: Final = frozenset(
    {Defect.POLITICAL, Defect.RELIGIOUS, Defect.MILITARY, Defect.RACIAL, Defect.REFUGEE}
)
_CLOSING_DAYS: Final = 3
"""Days after which an earlier case of the same source has surely been decided."""


def plan(scenario: Scenario, seed: str) -> Plan:
    """Return the plan of a run. Raises `BadInput` where the story contradicts itself."""
    return _Planner(scenario, seed).plan()


class _Planner:
    def __init__(self, scenario: Scenario, seed: str) -> None:
        self._scenario = scenario
        self._draw = IdentifierSource(seed, "scenario")
        self._canaries = canaries_of(seed)
        self._files = CaseFiles(self._draw, self._canaries)
        self._matching_key = self._draw.octets("matching_key", "", MATCHING_KEY_BYTES)
        self._truths: dict[str, Truth] = {}
        self._refugees: dict[str, set[str]] = {}
        self._amendments: dict[str, int] = {}
        self._begins = begins_at(scenario)

    def plan(self) -> Plan:
        check_members(self._scenario)
        alerts = [*self._scenario.alerts, *self._background(self._scenario.background)]
        alerts.sort(key=lambda alert: (span(alert.at), alert.source, alert.label))
        steps = [self._alert_step(alert) for alert in alerts]
        events = sorted(self._scenario.events, key=lambda event: span(event.at))
        steps += [step for event in events for step in self._event_steps(event)]
        steps.sort(key=lambda step: (step.at, step.member, step.label))
        return Plan(
            begins=self._begins,
            ends=self._begins + self._scenario.days * DAY,
            steps=steps,
            truths=self._truths,
            refugees={person: sorted(states) for person, states in self._refugees.items()},
            matching_key=self._matching_key,
            canaries=self._canaries,
        )

    def _alert_step(self, alert: Alert) -> Step:
        at = self._begins + span(alert.at)
        truth = Truth(alert.label, alert.source, self._subject(alert), alert.defect, at)
        self._enter(truth)
        order = IssueDiffusion(
            label=alert.label,
            to=alert.to,
            case_file=self._case_file(truth, 1, alert.defect, at),
            colour=alert.colour,
            held_back={
                member: self._begins + span(until) for member, until in alert.held_back.items()
            },
        )
        return Step(at, alert.source, alert.label, order)

    def _enter(self, truth: Truth) -> None:
        """Keep the truth of an alert; a refugee's status is known to the secretariat as well."""
        if truth.label in self._truths:
            message = f"scenario {self._scenario.name}: label {truth.label!r} is used twice"
            raise BadInput(message)
        self._truths[truth.label] = truth
        if truth.defect is Defect.REFUGEE:
            key = person_key(self._matching_key, self._person(truth))
            self._refugees.setdefault(key, set()).add(truth.source)

    def _subject(self, alert: Alert) -> str:
        if not alert.same_person_as:
            return alert.label
        earlier = self._truths.get(alert.same_person_as)
        if earlier is None:
            message = (
                f"scenario {self._scenario.name}: {alert.label!r} is on the person of "
                f"{alert.same_person_as!r}, which does not come before it"
            )
            raise BadInput(message)
        return earlier.subject

    def _case_file(self, truth: Truth, version: int, defect: Defect, at: Instant) -> CaseFile:
        person = self._person(truth)
        if defect is Defect.REQUIRED_DATA_MISSING:
            person = Person(
                person.family_name, person.forename, None, person.sex, [], person.identity_number
            )
        return self._files.case_file(truth.label, version, person, defect, at)

    def _person(self, truth: Truth) -> Person:
        return self._files.person(truth.subject, truth.source)

    def _event_steps(self, event: Event) -> Iterator[Step]:
        at = self._begins + span(event.at)
        if event.kind == "away":
            self._known_member(event.member)
            until = self._begins + span(event.until)
            if until <= at:
                message = f"scenario {self._scenario.name}: {event.member} comes back too early"
                raise BadInput(message)
            yield Step(at, event.member, "", away_until=until)
        elif event.kind == "message":
            self._known_member(event.member)
            order = IssueMessage(label=f"message:{event.at}", to=event.to, text=event.text)
            yield Step(at, event.member, "", order)
        elif event.kind == "inject":
            self._known_member(event.member)
            yield self._abuse_step(event, at)
        else:
            truth = self._truths.get(event.label)
            if truth is None:
                message = (
                    f"scenario {self._scenario.name}: event {event.kind} names the alert "
                    f"{event.label!r}, which the story does not have"
                )
                raise BadInput(message)
            yield Step(at, truth.source, event.label, self._order(event, truth, at))

    def _order(self, event: Event, truth: Truth, at: Instant) -> AnyOrder:
        match event.kind:
            case "amend":
                amendments = self._amendments.get(truth.label, 0) + 1
                self._amendments[truth.label] = amendments
                case_file = self._case_file(truth, 1 + amendments, Defect.NONE, at)
                return IssueAmendment(label=truth.label, case_file=case_file)
            case "withdraw":
                return IssueWithdrawal(label=truth.label)
            case "reply":
                return IssueInformationReply(
                    label=truth.label,
                    question=ReviewQuestion.MISSING_DATA,
                    answer=Answer.PROVIDED,
                    text=event.text or "The missing data follow in an amendment.",
                )
            case _:
                return RepeatStatement(label=truth.label, to=event.to[0])

    def _abuse_step(self, event: Event, at: Instant) -> Step:
        """An abuse enters an alert of its own into the truth, and what the truth demands."""
        subject = self._truths[event.of].subject if event.of in self._truths else event.label
        known = not is_octets_file(event.abuse)
        defect = abuse_named(event.abuse).truth if known else Defect.NONE
        truth = Truth(event.label, event.member, subject, defect, at)
        self._enter(truth)
        return Step(at, event.member, event.label, abuse=event.abuse, of=event.of, to=event.to)

    def _known_member(self, member: str) -> None:
        if member not in self._scenario.members:
            message = f"scenario {self._scenario.name}: {member!r} is no member"
            raise BadInput(message)

    def _background(self, background: Background) -> Iterator[Alert]:
        weights = _weights(self._scenario.members, background.skew, self._draw)
        closing: dict[str, tuple[Instant, str]] = {}
        for index in range(round(background.diffusions * self._scenario.scale)):
            label = f"alert-{index + 1:05d}"
            slots = self._scenario.days * DAY // (self._scenario.slot_hours * HOUR)
            slot = int(self._draw.fraction("slot", label) * slots)
            at = slot * self._scenario.slot_hours * HOUR
            defect = self._defect(background, label)
            sources = self._scenario.members
            if defect is not Defect.NONE and background.sources:
                sources = background.sources
            source = _weighted(sources, weights, self._draw.fraction("source", label))
            earlier = closing.get(source)
            same_person_as = ""
            if defect is Defect.COOPERATION_CLOSED:
                if earlier is not None and earlier[0] + _CLOSING_DAYS * DAY <= at:
                    same_person_as = earlier[1]
                else:
                    defect = Defect.POLITICAL
            if defect in _CLOSING_DEFECTS:
                closing.setdefault(source, (at, label))
            yield Alert(
                label,
                source,
                f"{at // HOUR}h",
                self._addressing(background, label, source),
                defect,
                same_person_as=same_person_as,
            )

    def _defect(self, background: Background, label: str) -> Defect:
        if self._draw.fraction("defective", label) >= background.defective_share:
            return Defect.NONE
        shares = dict(background.defects)
        return _weighted(tuple(shares), shares, self._draw.fraction("defect", label))

    def _addressing(self, background: Background, label: str, source: str) -> tuple[str, ...]:
        drawn = self._draw.fraction("addressing", label)
        if drawn < background.to_all:
            return (ALL_MEMBERS,)
        zones = sorted(self._scenario.zones)
        if zones and drawn < background.to_all + background.to_zone:
            return (zones[int(self._draw.fraction("zone", label) * len(zones))],)
        others = [member for member in self._scenario.members if member != source]
        others.sort(key=lambda member: self._draw.fraction("addressee", f"{label}:{member}"))
        count = 1 + int(self._draw.fraction("addressees", label) * background.listed_max)
        return tuple(sorted(others[:count]))


def begins_at(scenario: Scenario) -> Instant:
    """Return the instant at which a story begins; raise `BadInput` for a text that is none."""
    try:
        return instant_from_text(scenario.begins)
    except ValueError as error:
        message = f"scenario {scenario.name}: begins = {scenario.begins!r} is no UTC instant"
        raise BadInput(message) from error


def check_members(scenario: Scenario) -> None:
    """Raise `BadInput` for a story that speaks of members or zones which it does not have."""
    known = set(scenario.members)
    recipients = known | set(scenario.zones) | {ALL_MEMBERS}
    named: list[tuple[str, str]] = []
    for alert in scenario.alerts:
        late = [code for code in alert.held_back if code != SECRETARIAT]
        named += [(alert.label, code) for code in (alert.source, *late)]
        named += [(alert.label, code) for code in alert.to if code not in recipients]
    for event in scenario.events:
        named += [(f"event {event.kind}", code) for code in event.to if code not in recipients]
    for zone, codes in scenario.zones.items():
        named += [(zone, code) for code in codes]
    for table in (scenario.policies, scenario.profiles):
        named += [("policies and profiles", code) for code in table]
    named += [("background.sources", code) for code in scenario.background.sources]
    for where, code in named:
        if code not in known:
            message = f"scenario {scenario.name}: {where}: {code!r} is no member"
            raise BadInput(message)


def _weights(members: Sequence[str], skew: float, draw: IdentifierSource) -> dict[str, float]:
    ranked = sorted(members, key=lambda member: draw.fraction("rank", member))
    return {member: 1.0 / (rank + 1) ** skew for rank, member in enumerate(ranked)}


def _weighted(keys: Sequence[K], weights: Mapping[K, float], drawn: float) -> K:
    total = sum(weights[key] for key in keys)
    reached = 0.0
    for key in keys:
        reached += weights[key] / total
        if drawn < reached:
            return key
    return keys[-1]
