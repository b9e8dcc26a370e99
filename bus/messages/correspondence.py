"""Statements by which bureaus and the secretariat ask, answer, report and doubt."""

from enum import StrEnum

from bus.identifiers import TimestampText
from bus.messages.case_file import CountryCode, Text
from bus.messages.header import Closed, Header


class Database(StrEnum):
    """Central databases that a query can name."""

    NOMINAL = "nominal"
    TRAVEL_DOCUMENTS = "travel_documents"
    VEHICLES = "vehicles"
    FIREARMS = "firearms"
    ART = "art"


class HitKind(StrEnum):
    """What became of the person in consequence of the alert."""

    LOCATED = "located"
    ARRESTED = "arrested"
    REFUSED_ENTRY = "refused_entry"


class DoubtReason(StrEnum):
    """Why a holder tells the secretariat of a version."""

    UNREGISTERED = "unregistered"
    NON_COMPLIANT = "non_compliant"
    COOPERATION_CLOSED = "cooperation_closed"


class Answer(StrEnum):
    """What a party that was asked did."""

    PROVIDED = "provided"
    NOT_AVAILABLE = "not_available"
    REFUSED = "refused"


class ReviewQuestion(StrEnum):
    """What the NDTF asks a source or another bureau for."""

    MISSING_DATA = "missing_data"
    WARRANT = "warrant"
    INDICTMENT = "indictment"
    EXTRADITION_REFUSAL = "extradition_refusal"
    PROTECTION_STATUS = "protection_status"


class NoClaims(Closed, frozen=True):
    """A statement that says nothing beyond its header and body."""


class QueryClaims(Closed, frozen=True):
    """Which database is asked; the terms are in the body."""

    database: Database


class QueryReplyClaims(Closed, frozen=True):
    """The answer's kind; what was found is in the body."""

    database: Database
    answer: Answer


class HitClaims(Closed, frozen=True):
    """A hit discloses that its sender holds the version it names."""

    kind: HitKind
    occurred_at: TimestampText


class DoubtClaims(Closed, frozen=True):
    """The body carries the doubted version's original envelope."""

    reason: DoubtReason


class ReviewQuestionClaims(Closed, frozen=True):
    """Silence until `deadline` counts against the asked party."""

    question: ReviewQuestion
    deadline: TimestampText


class ReviewAnswerClaims(Closed, frozen=True):
    """The answer's kind; documents are in the body."""

    question: ReviewQuestion
    answer: Answer


class TextBody(Closed, frozen=True):
    """Body of correspondence: free text."""

    text: Text


class HitBody(Closed, frozen=True):
    """Where the person was found."""

    country: CountryCode
    text: Text


class EnvelopeBody(Closed, frozen=True):
    """A whole envelope, with its attachment, inside a body."""

    envelope: bytes


class Message(Header, frozen=True, kw_only=True, tag="message"):
    """A plain message between bureaus; not a diffusion and not copied to the secretariat."""

    claims: NoClaims


class Query(Header, frozen=True, kw_only=True, tag="query"):
    """Asks a central database."""

    claims: QueryClaims


class QueryReply(Header, frozen=True, kw_only=True, tag="query_reply"):
    """Answers a query."""

    claims: QueryReplyClaims


class Hit(Header, frozen=True, kw_only=True, tag="hit"):
    """Tells source and secretariat what happened on a version."""

    claims: HitClaims


class Doubt(Header, frozen=True, kw_only=True, tag="doubt"):
    """Brings a version that a holder holds before the secretariat."""

    claims: DoubtClaims


class InformationRequest(Header, frozen=True, kw_only=True, tag="information_request"):
    """The NDTF asks the source of a version for what it lacks."""

    claims: ReviewQuestionClaims


class InformationReply(Header, frozen=True, kw_only=True, tag="information_reply"):
    """The source answers the NDTF."""

    claims: ReviewAnswerClaims


class ConsultationRequest(Header, frozen=True, kw_only=True, tag="consultation_request"):
    """The NDTF asks a bureau other than the source."""

    claims: ReviewQuestionClaims


class ConsultationReply(Header, frozen=True, kw_only=True, tag="consultation_reply"):
    """A consulted bureau answers the NDTF."""

    claims: ReviewAnswerClaims
