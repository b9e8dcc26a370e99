"""The NDTF at work: opening cases, assigning reviewers, asking, deciding. Called by the tick."""

from typing import Final

import msgspec

from bus.held_envelopes import held_envelope
from bus.holdings import apply
from bus.identifiers import SECRETARIAT
from bus.instants import instant_to_text
from bus.messages import codec
from bus.messages.case_file import CaseFile
from bus.messages.correspondence import (
    InformationRequest,
    ReviewQuestion,
    ReviewQuestionClaims,
    TextBody,
)
from bus.messages.header import Header, Version
from bus.messages.review import (
    Ground,
    ReasonsBody,
    ReviewDecision,
    ReviewDecisionClaims,
    ReviewOpened,
    ReviewOpenedClaims,
    ReviewOutcome,
)
from bus.statements import Draft, IssuedStatement
from bus.storage.records import RecordKey
from bus.turn import Turn
from secretariat.case_store import Case, CaseStore
from secretariat.retraction_office import RetractionOffice
from secretariat.review import (
    OPEN_STATES,
    CaseState,
    ReviewSettings,
    comes_after,
    on_slot,
    review_ends,
)
from secretariat.screening import Finding, Knowledge, Submission, person_key, screen

_CASE_FILES: Final = msgspec.msgpack.Decoder(CaseFile)
_UNREADABLE: Final = Finding(
    "unreadable", Ground.UNREADABLE, "RPD, Article 12", "No readable data reached the secretariat."
)
_CLOSING_GROUNDS: Final = frozenset({Ground.ARTICLE_2, Ground.ARTICLE_3})


class ReviewDesk:
    """Cases from submission to decision."""

    def __init__(
        self,
        settings: ReviewSettings,
        refugees: dict[str, frozenset[str]],
        matching_key: bytes,
        office: RetractionOffice,
    ) -> None:
        self._settings = settings
        self._refugees = refugees
        self._matching_key = matching_key
        self._office = office

    def open_cases(self, turn: Turn) -> None:
        """Give every new version its case and its signed mark *pending review*."""
        cases = CaseStore(turn.stores.database)
        for key, digest, message_id in cases.submissions():
            case_id = turn.identifiers.record_id(f"case:{digest.hex()}")
            if turn.stores.records.standing(key).ended:
                continue
            if not cases.open_case(case_id, key, digest, message_id, turn.now):
                continue
            number = cases.next_number(key)
            self._tell(
                turn,
                ReviewOpened,
                [member for member in cases.holders(key) if member != SECRETARIAT],
                ReviewOpenedClaims(number, case_id),
                Version(key.source, key.record_id, digest),
                f"{digest.hex()}",
            )
            self._revisit_older(turn, cases, key, digest)
        cases.clear_submissions()

    def _revisit_older(self, turn: Turn, cases: CaseStore, key: RecordKey, digest: bytes) -> None:
        """A version that waits for information is looked at again when an amendment comes."""
        for case in cases.open_cases_of(key):
            if case.digest != digest and case.state is CaseState.AWAITING_INFORMATION:
                cases.move(case, CaseState.UNDER_REVIEW, on_slot(turn.now + 1, self._settings.slot))

    def assign(self, turn: Turn) -> None:
        """Let free reviewers take the oldest cases."""
        cases = CaseStore(turn.stores.database)
        free = self._settings.reviewers - cases.reviewers_busy()
        for case in cases.cases_in(CaseState.QUEUED)[: max(free, 0)]:
            fraction = turn.identifiers.fraction("review", case.message_id)
            cases.move(
                case, CaseState.UNDER_REVIEW, review_ends(self._settings, turn.now, fraction)
            )

    def conclude(self, turn: Turn) -> None:
        """Decide the cases whose review or deadline ends now."""
        cases = CaseStore(turn.stores.database)
        for due in cases.due_cases(turn.now):
            case = cases.case_of_version(due.digest)
            if case is None or case.state not in OPEN_STATES:
                continue  # settled along with a case before it
            if turn.stores.records.standing(case.key).ended:
                cases.move(case, CaseState.CLOSED, None)
                continue
            finding = self._screened(turn, cases, case)
            if finding is None:
                self._validate(turn, cases, case)
                continue
            newer = self._compliant_newer(turn, cases, case, finding)
            if newer is not None:
                self._replace(turn, cases, case, newer, finding)
            elif finding.curable and not case.asked:
                self._ask(turn, cases, case, finding)
            else:
                self._reject(turn, cases, case, finding)

    def _case_file(self, turn: Turn, case: Case) -> CaseFile | None:
        kept = turn.stores.records.body(case.digest)
        return codec.decode(_CASE_FILES, kept[1]) if kept else None

    def _screened(self, turn: Turn, cases: CaseStore, case: Case) -> Finding | None:
        case_file = self._case_file(turn, case)
        if case_file is None:
            return _UNREADABLE
        submission = Submission(
            case.key.source,
            case_file,
            person_key(self._matching_key, case_file.subject),
            instant_to_text(turn.now)[:10],
        )
        return screen(submission, Knowledge(self._refugees, cases.closed_cases()))

    def _compliant_newer(
        self, turn: Turn, cases: CaseStore, case: Case, finding: Finding
    ) -> Case | None:
        """Return the amendment that stays when the version it amends goes, if there is one.

        One in force stays whatever was wrong before it, unless co-operation on the case closes;
        one that waits for its decision can only supply what was missing.
        """
        if finding.ground in _CLOSING_GROUNDS:
            return None
        standing = turn.stores.records.standing(case.key)
        in_force = standing.in_force()
        if in_force is not None and comes_after(standing.versions, in_force, case.digest):
            return cases.case_of_version(in_force)
        for newer in reversed(cases.open_cases_of(case.key) if finding.curable else []):
            amends = comes_after(standing.versions, newer.digest, case.digest)
            if amends and self._screened(turn, cases, newer) is None:
                return newer
        return None

    def _ask(self, turn: Turn, cases: CaseStore, case: Case, finding: Finding) -> None:
        """Ask the source once for what is missing; its silence will reject."""
        deadline = on_slot(turn.now + self._settings.information_deadline, self._settings.slot)
        turn.issue(
            Draft(
                InformationRequest,
                (case.key.source,),
                ReviewQuestionClaims(ReviewQuestion.MISSING_DATA, instant_to_text(deadline)),
                subject=case.case_id,
                record=Version(case.key.source, case.key.record_id, case.digest),
                body=TextBody(finding.reasons),
            )
        )
        cases.move(case, CaseState.AWAITING_INFORMATION, deadline, asked=True)

    def _replace(
        self, turn: Turn, cases: CaseStore, case: Case, newer: Case, finding: Finding
    ) -> None:
        envelope = held_envelope(turn, newer.key.source, newer.message_id, newer.digest)
        if envelope is None:
            self._reject(turn, cases, case, finding)
            return
        self._tell_source(turn, cases, case, finding)
        self._office.replace_everywhere(turn, case.key, case.digest, newer.digest, envelope)
        cases.decide(case, ReviewOutcome.REJECTED, finding.ground, finding.rule, turn.now)
        self._note_decision(turn, case, ReviewOutcome.REJECTED, finding.ground)
        if newer.state in OPEN_STATES:
            cases.decide(newer, ReviewOutcome.VALIDATED, None, None, turn.now)
            self._note_decision(turn, newer, ReviewOutcome.VALIDATED, "")

    def _validate(self, turn: Turn, cases: CaseStore, case: Case) -> None:
        holders = [member for member in cases.holders(case.key) if member != SECRETARIAT]
        self._tell(
            turn,
            ReviewDecision,
            holders,
            ReviewDecisionClaims(cases.next_number(case.key), ReviewOutcome.VALIDATED, None),
            Version(case.key.source, case.key.record_id, case.digest),
            case.case_id,
        )
        cases.decide(case, ReviewOutcome.VALIDATED, None, None, turn.now)
        self._note_decision(turn, case, ReviewOutcome.VALIDATED, "")

    def _reject(self, turn: Turn, cases: CaseStore, case: Case, finding: Finding) -> None:
        """Tell the source why, close co-operation where the ground demands it, and retract."""
        case_file = self._case_file(turn, case)
        if finding.ground in _CLOSING_GROUNDS and case_file is not None:
            key = person_key(self._matching_key, case_file.subject)
            cases.close_cooperation(key, case.key.source)
        self._tell_source(turn, cases, case, finding)
        cases.decide(case, ReviewOutcome.REJECTED, finding.ground, finding.rule, turn.now)
        self._note_decision(turn, case, ReviewOutcome.REJECTED, finding.ground)
        self._office.delete_everywhere(turn, case.key, case.digest, "rejected")
        for other in cases.open_cases_of(case.key):
            cases.move(other, CaseState.CLOSED, None)

    def _tell_source(self, turn: Turn, cases: CaseStore, case: Case, finding: Finding) -> None:
        self._tell(
            turn,
            ReviewDecision,
            [case.key.source],
            ReviewDecisionClaims(
                cases.next_number(case.key), ReviewOutcome.REJECTED, finding.ground
            ),
            Version(case.key.source, case.key.record_id, case.digest),
            case.case_id,
            ReasonsBody(finding.article, finding.reasons),
        )

    def _tell(
        self,
        turn: Turn,
        header: type[Header],
        members: list[str],
        claims: ReviewOpenedClaims | ReviewDecisionClaims,
        record: Version,
        subject: str,
        body: ReasonsBody | None = None,
    ) -> IssuedStatement:
        issued = turn.issue(
            Draft(header, tuple(members), claims, subject=subject, record=record, body=body)
        )
        apply(turn, issued.statement, issued.digest)
        return issued

    def _note_decision(self, turn: Turn, case: Case, outcome: str, ground: str) -> None:
        turn.note(
            "case_decided",
            message_id=case.message_id,
            source=case.key.source,
            record_id=case.key.record_id,
            state=f"{outcome}:{ground}" if ground else outcome,
            digest=case.digest,
        )
