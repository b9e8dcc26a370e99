"""One table of all statement types: who may sign them, whom they address, what they carry."""

from enum import Enum
from typing import Final

from msgspec import Struct

from bus.identifiers import QueueKind, Role
from bus.messages import alerts, authority, correspondence, retraction, review
from bus.messages.case_file import CaseFile
from bus.messages.header import Closed, Header

PAYLOAD_TYPE_PREFIX: Final = "application/vnd.i247."
PAYLOAD_TYPE_SUFFIX: Final = ".v1+msgpack"

Statement = (
    alerts.Diffusion
    | alerts.Amendment
    | alerts.NoticeRequest
    | alerts.Notice
    | alerts.Withdrawal
    | correspondence.Message
    | correspondence.Query
    | correspondence.QueryReply
    | correspondence.Hit
    | correspondence.Doubt
    | correspondence.InformationRequest
    | correspondence.InformationReply
    | correspondence.ConsultationRequest
    | correspondence.ConsultationReply
    | review.ReviewOpened
    | review.ReviewDecision
    | review.Block
    | review.Unblock
    | review.Addendum
    | review.CooperationClosed
    | review.CorrectiveMeasure
    | review.Release
    | retraction.Retraction
    | retraction.RetractionReceipt
    | retraction.RetractionSet
    | retraction.RetractionSetRequest
    | retraction.HoldingsRequest
    | retraction.HoldingsStatement
    | authority.Membership
    | authority.KeyAnnouncement
    | authority.KeyRevocation
    | authority.RecipientKey
    | authority.CCFRequest
    | authority.CCFDecision
)
"""Any statement, as msgspec decodes it: tagged by `message_type`."""


class RecordRule(Enum):
    """What the `record` field of a statement must be."""

    NONE = "nil"
    OPENS = "a record of the source, statement_digest nil"
    OWN_VERSION = "a version of the source's own record"
    ANY_VERSION = "a version of any source's record"
    OPTIONAL_VERSION = "nil, or a version of any source's record"


class BodyRule(Enum):
    """Whether a body comes with a statement."""

    NONE = "none"
    REQUIRED = "required"
    OPTIONAL = "optional"


class StatementKind(Struct, frozen=True):
    """What is fixed about one statement type; `docs/protocol.md` is generated from it."""

    header: type[Header]
    claims: type[Closed]
    signers: frozenset[Role]
    record: RecordRule
    queue: QueueKind
    body: type[Closed] | None = None
    body_rule: BodyRule = BodyRule.NONE
    addresses_secretariat: bool = False
    may_expire: bool = False
    body_outlives_record: bool = False
    """Whether the body speaks of rules and not of the person, so that it stays when data go."""

    @property
    def message_type(self) -> str:
        """The value of the header's `message_type`."""
        return str(self.header.__struct_config__.tag)

    @property
    def payload_type(self) -> str:
        """The DSSE payload type that is signed along with the payload."""
        return f"{PAYLOAD_TYPE_PREFIX}{self.message_type}{PAYLOAD_TYPE_SUFFIX}"


_NCB: Final = frozenset({Role.NCB})
_GS: Final = frozenset({Role.SECRETARIAT})
_NCB_GS: Final = _NCB | _GS
_AUTHORITY: Final = frozenset({Role.AUTHORITY})
_CCF: Final = frozenset({Role.CCF})
_ANY: Final = frozenset(Role)


def _kind(
    header: type[Header],
    signers: frozenset[Role],
    record: RecordRule = RecordRule.NONE,
    body: type[Closed] | None = None,
    *,
    body_optional: bool = False,
    data: bool = False,
    secretariat: bool = False,
    expires: bool = False,
) -> StatementKind:
    rule = BodyRule.REQUIRED
    if body is None:
        rule = BodyRule.NONE
    elif body_optional:
        rule = BodyRule.OPTIONAL
    return StatementKind(
        header=header,
        claims=header.__annotations__["claims"],
        signers=signers,
        record=record,
        queue=QueueKind.DATA if data else QueueKind.STATEMENTS,
        body=body,
        body_rule=rule,
        addresses_secretariat=secretariat,
        may_expire=expires,
        body_outlives_record=body is review.ReasonsBody,
    )


_A, _C, _V, _R, _T = alerts, correspondence, review, retraction, authority
_OPENS, _OWN = RecordRule.OPENS, RecordRule.OWN_VERSION
_ANY_VERSION, _OPTIONAL = RecordRule.ANY_VERSION, RecordRule.OPTIONAL_VERSION
_TEXT, _ENVELOPE = correspondence.TextBody, correspondence.EnvelopeBody

_ROWS: Final = (
    _kind(_A.Diffusion, _NCB, _OPENS, CaseFile, data=True, secretariat=True, expires=True),
    _kind(_A.Amendment, _NCB, _OWN, CaseFile, data=True, secretariat=True, expires=True),
    _kind(_A.NoticeRequest, _NCB, _OPENS, CaseFile, data=True, secretariat=True, expires=True),
    _kind(_A.Notice, _GS, _ANY_VERSION, CaseFile, data=True),
    _kind(_A.Withdrawal, _NCB, _OWN, secretariat=True),
    _kind(_C.Message, _NCB_GS, _OPTIONAL, _TEXT, data=True, expires=True),
    _kind(_C.Query, _NCB, body=_TEXT, data=True, secretariat=True, expires=True),
    _kind(_C.QueryReply, _GS, body=_TEXT, data=True, expires=True),
    _kind(_C.Hit, _NCB, _ANY_VERSION, _C.HitBody, data=True, secretariat=True),
    _kind(_C.Doubt, _NCB, _ANY_VERSION, _ENVELOPE, data=True, secretariat=True),
    _kind(_C.InformationRequest, _GS, _ANY_VERSION, _TEXT, data=True),
    _kind(_C.InformationReply, _NCB, _OWN, _TEXT, data=True, secretariat=True),
    _kind(_C.ConsultationRequest, _GS, _ANY_VERSION, _TEXT, data=True),
    _kind(_C.ConsultationReply, _NCB, _ANY_VERSION, _TEXT, data=True, secretariat=True),
    _kind(_V.ReviewOpened, _GS, _ANY_VERSION),
    _kind(_V.ReviewDecision, _GS, _ANY_VERSION, _V.ReasonsBody, body_optional=True),
    _kind(_V.Block, _GS, _ANY_VERSION),
    _kind(_V.Unblock, _GS, _ANY_VERSION),
    _kind(_V.Addendum, _GS, _ANY_VERSION, _TEXT),
    _kind(_V.CooperationClosed, _GS),
    _kind(_V.CorrectiveMeasure, _GS),
    _kind(_V.Release, _GS, _ANY_VERSION, _ENVELOPE, data=True),
    _kind(_R.Retraction, _GS, _ANY_VERSION, _ENVELOPE, body_optional=True),
    _kind(_R.RetractionReceipt, _NCB, _ANY_VERSION, secretariat=True),
    _kind(_R.RetractionSet, _GS),
    _kind(_R.RetractionSetRequest, _NCB, secretariat=True),
    _kind(_R.HoldingsRequest, _GS),
    _kind(_R.HoldingsStatement, _NCB, secretariat=True),
    _kind(_T.Membership, _AUTHORITY),
    _kind(_T.KeyAnnouncement, _AUTHORITY, body=_T.CertificatesBody),
    _kind(_T.KeyRevocation, _AUTHORITY),
    _kind(_T.RecipientKey, _ANY),
    _kind(_T.CCFRequest, _CCF, _OPTIONAL, _TEXT, secretariat=True),
    _kind(_T.CCFDecision, _CCF, _ANY_VERSION, _TEXT, body_optional=True),
)

KINDS: Final[dict[str, StatementKind]] = {row.message_type: row for row in _ROWS}
"""Every statement type by its `message_type`."""

KIND_BY_PAYLOAD_TYPE: Final[dict[str, StatementKind]] = {row.payload_type: row for row in _ROWS}


def kind_of(statement: Header) -> StatementKind:
    """Return the table's row for a statement."""
    return KINDS[str(statement.__struct_config__.tag)]
