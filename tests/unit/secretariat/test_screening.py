"""Initial screening: each rule, by the article it rests on, catches its case and spares its kin."""

from collections.abc import Callable

import pytest
from msgspec.structs import replace

from bus.messages.case_file import CaseFile
from bus.messages.review import Ground
from secretariat.offences import OFFENCES, Character, character_of
from secretariat.screening import (
    PERSON_KEY_BYTES,
    RULES,
    Finding,
    Knowledge,
    Rule,
    Submission,
    cooperation_already_closed,
    military_character,
    person_key,
    political_character,
    private_dispute,
    racial_character,
    refugee_sought_by_feared_state,
    religious_character,
    required_data_missing,
    screen,
    warrant_expired,
    warrant_missing,
)
from tests.factories import MATCHING_KEY, case_file, offence, person, warrant

TODAY = "2024-03-01"
NOTHING = Knowledge({}, frozenset())
PERSON_KEY = person_key(MATCHING_KEY, person())


def submission(body: CaseFile | None = None, source: str = "XA") -> Submission:
    """Return a version before its screening."""
    body = body or case_file()
    return Submission(source, body, person_key(MATCHING_KEY, body.subject), TODAY)


def found(rule: Rule, body: CaseFile | None = None, known: Knowledge = NOTHING) -> Finding | None:
    """Return what one rule finds."""
    return rule(submission(body), known)


class TestArticle2:
    """Constitution, Article 2, and GA-2017-86-RES-09: refugees."""

    KNOWN = Knowledge({PERSON_KEY: frozenset({"XA"})}, frozenset())

    def test_alert_of_the_feared_state_against_a_refugee_is_found(self) -> None:
        """Whatever the offence, however good the warrant."""
        finding = found(refugee_sought_by_feared_state, known=self.KNOWN)
        assert finding is not None
        assert (finding.ground, finding.curable) == (Ground.ARTICLE_2, False)

    def test_alert_of_another_state_against_the_same_person_is_not(self) -> None:
        """Near miss: protection is against the state of feared persecution."""
        assert refugee_sought_by_feared_state(submission(source="XC"), self.KNOWN) is None

    def test_alert_against_a_namesake_is_not(self) -> None:
        """Near miss: the same name, born on another day."""
        body = case_file(subject=person(date_of_birth="1980-05-18"))
        assert found(refugee_sought_by_feared_state, body, self.KNOWN) is None

    def test_reasons_name_no_state(self) -> None:
        """Which state gave asylum is never said, and nothing lets the source guess it."""
        finding = found(refugee_sought_by_feared_state, known=self.KNOWN)
        assert finding is not None
        assert not any(word in finding.reasons for word in ("XA", "asylum", "refugee"))


class TestCooperationClosed:
    """Constitution, Articles 2 and 3: after such a rejection nothing more on that case."""

    KNOWN = Knowledge({}, frozenset({(PERSON_KEY, "XA")}))

    def test_second_alert_on_a_closed_case_is_found(self) -> None:
        """With another offence and a new warrant it is still the same person and source."""
        body = case_file(offence=offence(code="murder"), warrant=warrant(reference="W-2"))
        finding = found(cooperation_already_closed, body, self.KNOWN)
        assert finding is not None
        assert finding.ground is Ground.COOPERATION_CLOSED

    def test_spelling_of_the_name_does_not_open_it_again(self) -> None:
        """Capitals are not another person."""
        body = case_file(subject=person(family_name="MUSTER"))
        assert found(cooperation_already_closed, body, self.KNOWN) is not None

    def test_alert_of_another_source_on_the_same_person_is_not(self) -> None:
        """Near miss: the case was closed with one source."""
        assert cooperation_already_closed(submission(source="XC"), self.KNOWN) is None


PREDOMINANCE: dict[str, tuple[Rule, str]] = {
    "political": (political_character, "insult_of_head_of_state"),
    "military": (military_character, "desertion"),
    "religious": (religious_character, "apostasy"),
    "racial": (racial_character, "separatist_culture"),
}


class TestArticle3:
    """Constitution, Article 3, and AGN/20/RES/11: what predominates."""

    @pytest.mark.parametrize(("rule", "code"), PREDOMINANCE.values(), ids=PREDOMINANCE)
    def test_offence_of_the_forbidden_character_is_found(self, rule: Rule, code: str) -> None:
        """Each of the four characters by a rule of its own."""
        finding = found(rule, case_file(offence=offence(code=code)))
        assert finding is not None
        assert (finding.ground, finding.article) == (
            Ground.ARTICLE_3,
            "Constitution, Article 3; AGN/20/RES/11",
        )

    @pytest.mark.parametrize("name", PREDOMINANCE)
    def test_offence_of_another_character_is_not(self, name: str) -> None:
        """Near miss: the other three, and ordinary crime with a political motive in its facts."""
        rule, _ = PREDOMINANCE[name]
        others = [code for other, (_, code) in PREDOMINANCE.items() if other != name]
        assert all(found(rule, case_file(offence=offence(code=code))) is None for code in others)
        motive = offence(code="murder", facts="Killed the head of the banned party.")
        assert found(rule, case_file(offence=motive)) is None


class TestPrivateDispute:
    """RPD, Article 83(1)(a): family and private matters stay out."""

    @pytest.mark.parametrize("code", ["unpaid_debt", "custody_dispute", "unfunded_cheque"])
    def test_private_matter_is_found(self, code: str) -> None:
        """A debt is no crime of common interest."""
        finding = found(private_dispute, case_file(offence=offence(code=code)))
        assert finding is not None
        assert finding.ground is Ground.PRIVATE_DISPUTE

    def test_serious_fraud_is_not(self) -> None:
        """Near miss: money is owed, but a crime was committed."""
        assert found(private_dispute, case_file(offence=offence(code="aggravated_fraud"))) is None


class TestWarrant:
    """RPD, Articles 99, 12 and 81: an alert rests on a warrant, and on one that still stands."""

    def test_missing_warrant_is_found_and_not_curable(self) -> None:
        """Nothing to rest on."""
        finding = found(warrant_missing, case_file(warrant=None))
        assert finding is not None
        assert (finding.ground, finding.curable) == (Ground.WARRANT_MISSING, False)
        assert found(warrant_expired, case_file(warrant=None)) is None

    def test_warrant_that_expired_yesterday_is_found(self) -> None:
        """By calendar day."""
        finding = found(warrant_expired, case_file(warrant=warrant(valid_until="2024-02-29")))
        assert finding is not None
        assert finding.ground is Ground.WARRANT_EXPIRED

    @pytest.mark.parametrize("until", [TODAY, "2034-01-01", None])
    def test_warrant_that_is_valid_today_is_not(self, until: str | None) -> None:
        """Near miss: its last day counts, and some have none."""
        body = case_file(warrant=warrant(valid_until=until))
        assert found(warrant_expired, body) is found(warrant_missing, body) is None


MISSING: dict[str, Callable[[], CaseFile]] = {
    "date of birth": lambda: case_file(subject=person(date_of_birth=None)),
    "nationality": lambda: case_file(subject=person(nationalities=[])),
    "summary of facts": lambda: case_file(offence=offence(facts="  \n")),
    "place of the acts": lambda: case_file(offence=offence(place="")),
    "date of the acts": lambda: case_file(offence=offence(committed_on=None)),
}


class TestRequiredData:
    """RPD, Article 83(2)(b): who is sought, and for what, when and where."""

    @pytest.mark.parametrize("name", MISSING)
    def test_missing_datum_is_found_by_name_and_curable(self, name: str) -> None:
        """The source is asked for just what is missing."""
        finding = found(required_data_missing, MISSING[name]())
        assert finding is not None
        assert (finding.ground, finding.curable) == (Ground.REQUIRED_DATA_MISSING, True)
        assert name in finding.reasons
        assert not any(other in finding.reasons for other in MISSING if other != name)

    def test_data_that_are_not_required_may_be_missing(self) -> None:
        """Near miss: a person without a known forename, a case without a request."""
        body = case_file(subject=person(forename=""), requested_action="")
        assert found(required_data_missing, body) is None


class TestScreening:
    """The rules together."""

    def test_compliant_submission_passes_every_rule(self) -> None:
        """Nothing is found where nothing is wrong."""
        assert screen(submission(), NOTHING) is None

    def test_gravest_finding_decides(self) -> None:
        """A refugee without warrant and birth date is a matter of Article 2, not of form."""
        body = case_file(warrant=None, subject=person(nationalities=[]))
        known = Knowledge({PERSON_KEY: frozenset({"XA"})}, frozenset())
        finding = screen(submission(body), known)
        assert finding is not None
        assert finding.ground is Ground.ARTICLE_2

    def test_curable_finding_is_reported_only_without_a_graver_one(self) -> None:
        """A source is not asked to complete what would be rejected anyway."""
        body = replace(MISSING["date of birth"](), offence=offence(code="desertion"))
        finding = screen(submission(body), NOTHING)
        assert finding is not None
        assert not finding.curable

    def test_every_finding_names_its_rule_and_an_article(self) -> None:
        """Each step of a story can be explained by its rule."""
        bodies = [
            case_file(warrant=None),
            case_file(warrant=warrant(valid_until="2020-01-01")),
            MISSING["nationality"](),
            *(case_file(offence=offence(code=code)) for code in OFFENCES),
        ]
        findings = [finding for body in bodies if (finding := screen(submission(body), NOTHING))]
        names = {getattr(rule, "__name__", "") for rule in RULES}
        assert {finding.rule for finding in findings} < names
        assert all("Article" in finding.article and finding.reasons for finding in findings)
        assert all(getattr(rule, "__doc__", None) for rule in RULES)

    def test_offence_that_is_not_listed_counts_as_ordinary_law(self) -> None:
        """The list says what is excluded, not what is allowed."""
        assert character_of("jaywalking") is Character.ORDINARY_LAW


class TestPersonKey:
    """The keyed digest by which a person is recognised without being kept."""

    def test_key_depends_on_the_matching_key(self) -> None:
        """Without it nobody can try out names and birth dates."""
        other = person_key(b"another key", person())
        assert len({PERSON_KEY, other}) == 2
        assert len(bytes.fromhex(PERSON_KEY)) == PERSON_KEY_BYTES

    def test_fields_cannot_run_into_each_other(self) -> None:
        """Ann Abell is not Anna Bell."""
        keys = {
            person_key(MATCHING_KEY, person(family_name=family, forename=forename))
            for family, forename in (("abell", "ann"), ("bell", "anna"), ("annabell", ""))
        }
        assert len(keys) == 3
