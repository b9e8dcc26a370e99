"""Initial screening: one pure function per rule, each naming its ground and article.

A rule sees the case file, who sent it, what the secretariat knows, and the day. It returns a
finding or None. The first finding in the order of `RULES` decides, gravest ground first.
Articles are those of INTERPOL's Constitution and Rules on the Processing of Data (RPD).
"""

from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import Final

from msgspec import Struct

from bus.messages.case_file import CaseFile, Person
from bus.messages.review import Ground
from secretariat.offences import Character, character_of

PERSON_KEY_BYTES: Final = 16


class Finding(Struct, frozen=True):
    """One rule's result. A curable one leads to a question to the source before a rejection."""

    rule: str
    ground: Ground
    article: str
    reasons: str
    curable: bool = False


class Knowledge(Struct, frozen=True):
    """What the secretariat knows beside the case file, by keyed digests of persons.

    `feared_states` maps a person with confirmed refugee status to the states of feared
    persecution. `closed_cases` holds (person key, source) pairs on which co-operation is closed;
    it outlives the deleted data.
    """

    feared_states: Mapping[str, frozenset[str]]
    closed_cases: frozenset[tuple[str, str]]


class Submission(Struct, frozen=True):
    """A version before its screening. `today` is the calendar day as YYYY-MM-DD."""

    source: str
    case_file: CaseFile
    person_key: str
    today: str


Rule = Callable[[Submission, Knowledge], Finding | None]


def person_key(matching_key: bytes, person: Person) -> str:
    """Return a keyed digest of a person, in hex.

    A plain digest of name and birth date could be guessed; without the secretariat's matching key
    this one cannot.
    """
    text = "\x1f".join(
        (person.family_name.casefold(), person.forename.casefold(), person.date_of_birth or "")
    )
    return blake2b(text.encode(), key=matching_key, digest_size=PERSON_KEY_BYTES).hexdigest()


def refugee_sought_by_feared_state(submission: Submission, known: Knowledge) -> Finding | None:
    """No alert against a refugee from the state of feared persecution.

    Constitution, Article 2; resolution GA-2017-86-RES-09. Which state gave asylum is never said.
    """
    if submission.source not in known.feared_states.get(submission.person_key, frozenset()):
        return None
    return Finding(
        "refugee_sought_by_feared_state",
        Ground.ARTICLE_2,
        "Constitution, Article 2; GA-2017-86-RES-09",
        "The person's protected status excludes data from this source.",
    )


def cooperation_already_closed(submission: Submission, known: Knowledge) -> Finding | None:
    """After a rejection under Article 2 or 3 none goes on through the network on that case."""
    if (submission.person_key, submission.source) not in known.closed_cases:
        return None
    return Finding(
        "cooperation_already_closed",
        Ground.COOPERATION_CLOSED,
        "Constitution, Articles 2 and 3",
        "Co-operation through the network on this person and case is closed.",
    )


def _predominance(character: Character) -> Rule:
    def rule(submission: Submission, known: Knowledge) -> Finding | None:
        del known
        if character_of(submission.case_file.offence.code) is not character:
            return None
        return Finding(
            f"{character.value}_character",
            Ground.ARTICLE_3,
            "Constitution, Article 3; AGN/20/RES/11",
            f"The {character.value} element of the case predominates.",
        )

    rule.__name__ = f"{character.value}_character"
    rule.__doc__ = f"No activity of a {character.value} character (Constitution, Article 3)."
    return rule


political_character = _predominance(Character.POLITICAL)
military_character = _predominance(Character.MILITARY)
religious_character = _predominance(Character.RELIGIOUS)
racial_character = _predominance(Character.RACIAL)


def private_dispute(submission: Submission, known: Knowledge) -> Finding | None:
    """Family and private matters stay out (RPD, Article 83(1)(a), applied to diffusions here)."""
    del known
    if character_of(submission.case_file.offence.code) is not Character.PRIVATE_DISPUTE:
        return None
    return Finding(
        "private_dispute",
        Ground.PRIVATE_DISPUTE,
        "RPD, Article 83(1)(a)",
        "The case is a private dispute without link to serious crime.",
    )


def warrant_missing(submission: Submission, known: Knowledge) -> Finding | None:
    """A wanted person diffusion rests on a warrant or judgment (RPD, Article 99, unconfirmed)."""
    del known
    if submission.case_file.warrant is not None:
        return None
    return Finding(
        "warrant_missing",
        Ground.WARRANT_MISSING,
        "RPD, Article 99",
        "No arrest warrant or court decision is named.",
    )


def warrant_expired(submission: Submission, known: Knowledge) -> Finding | None:
    """Data must be accurate and current (RPD, Articles 12 and 81)."""
    del known
    warrant = submission.case_file.warrant
    if warrant is None or warrant.valid_until is None or warrant.valid_until >= submission.today:
        return None
    return Finding(
        "warrant_expired",
        Ground.WARRANT_EXPIRED,
        "RPD, Articles 12 and 81",
        "The warrant named is no longer valid.",
    )


def required_data_missing(submission: Submission, known: Knowledge) -> Finding | None:
    """Identity and a summary of facts with time and place must be there (RPD, Article 83(2)(b)).

    Curable: the source is asked first, and silence rejects.
    """
    del known
    person, offence = submission.case_file.subject, submission.case_file.offence
    missing = [
        name
        for name, value in (
            ("date of birth", person.date_of_birth),
            ("nationality", person.nationalities),
            ("summary of facts", offence.facts.strip()),
            ("place of the acts", offence.place.strip()),
            ("date of the acts", offence.committed_on),
        )
        if not value
    ]
    if not missing:
        return None
    return Finding(
        "required_data_missing",
        Ground.REQUIRED_DATA_MISSING,
        "RPD, Article 83(2)(b)",
        f"Required data are missing: {', '.join(missing)}.",
        curable=True,
    )


RULES: Final[tuple[Rule, ...]] = (
    refugee_sought_by_feared_state,
    cooperation_already_closed,
    political_character,
    military_character,
    religious_character,
    racial_character,
    private_dispute,
    warrant_missing,
    warrant_expired,
    required_data_missing,
)


def screen(submission: Submission, known: Knowledge) -> Finding | None:
    """Return the gravest finding, or None for a compliant submission."""
    return next((found for rule in RULES if (found := rule(submission, known)) is not None), None)
