"""Every abuse with its id, the rule it breaks, where it should be found, and its lesson."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from msgspec import Struct

from bus.errors import BadInput
from simulation.abuses import forged_signature, octets, refugee, rejected_record_sent_again
from simulation.abuses.deeds import AbuseRequest, AbuseTools, Deed
from simulation.plan import Plan, Step
from simulation.scenario import Defect


class Abuse(Struct, frozen=True):
    """One entry. `truth` is what it hides; `expected` is what the network makes of it."""

    abuse_id: str
    name: str
    title: str
    rule: str
    expected: str
    lesson: str
    deeds: Callable[[AbuseRequest, AbuseTools], list[Deed]]
    truth: Defect = Defect.NONE
    needs_earlier_alert: bool = False


ABUSES: Final[tuple[Abuse, ...]] = (
    Abuse(
        "T-01",
        "forged_signature",
        "Forged signature",
        "Design, section 4: the signature decides who spoke",
        "every addressee refuses it (signature_invalid)",
        "The broker lets a bureau publish under its own name whatever it likes. Only the "
        "signature proves that the bureau's key said it.",
        forged_signature.deeds,
    ),
    Abuse(
        "C-01",
        "refugee",
        "Refugee sought by the state of feared persecution",
        "Constitution, Article 2; resolution GA-2017-86-RES-09",
        "delivered, pending review, rejected under Article 2, deleted at every holder",
        "A valid signature proves origin and not compliance. Until the retraction has reached "
        "the last holder, the data do harm.",
        refugee.deeds,
        truth=Defect.REFUGEE,
    ),
    Abuse(
        "C-02",
        "rejected_record_sent_again",
        "Rejected data sent again under a new record",
        "Constitution, Articles 2 and 3: no further co-operation through the network",
        "delivered, pending review, rejected because co-operation is closed",
        "Deleted data may come back in another envelope. The list of closed cases must outlive "
        "the data, and recognise the person.",
        rejected_record_sent_again.deeds,
        truth=Defect.COOPERATION_CLOSED,
        needs_earlier_alert=True,
    ),
)


def abuse_named(name: str) -> Abuse:
    """Return an abuse by id or name; raise `BadInput` for one that the catalogue lacks."""
    for abuse in ABUSES:
        if name in (abuse.abuse_id, abuse.name):
            return abuse
    known = ", ".join(f"{abuse.abuse_id} {abuse.name}" for abuse in ABUSES)
    message = f"no abuse {name!r}; there are {known}"
    raise BadInput(message)


def is_octets_file(abuse: str) -> bool:
    """Tell whether an abuse is a file of octets: what has an entry here never is one."""
    known = {text for each in ABUSES for text in (each.abuse_id, each.name)}
    try:
        return abuse not in known and Path(abuse).is_file()
    except OSError:
        return False


def check_abuses(plan: Plan) -> None:
    """Raise `BadInput` for a step whose abuse does not exist or lacks what it builds on."""
    for step in plan.steps:
        if step.abuse and not is_octets_file(step.abuse):
            _abuse_of(step)


def deeds_of(step: Step, tools: AbuseTools) -> list[Deed]:
    """Return what a step's abuse makes its member do; raise `BadInput` where it lacks something."""
    if is_octets_file(step.abuse):
        request = AbuseRequest(step.member, step.at, step.to, step.label, step.of)
        return octets.deeds(Path(step.abuse), request, tools)
    abuse = _abuse_of(step)
    label = step.label or f"{abuse.name}@{step.at}"
    return abuse.deeds(AbuseRequest(step.member, step.at, step.to, label, step.of), tools)


def _abuse_of(step: Step) -> Abuse:
    abuse = abuse_named(step.abuse)
    if abuse.needs_earlier_alert and not step.of:
        message = f"abuse {abuse.name} needs the label of an earlier alert to build on"
        raise BadInput(message)
    return abuse
