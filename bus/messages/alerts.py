"""Statements that put data about a person out: diffusions, notices, amendments, withdrawals."""

from enum import StrEnum

from bus.identifiers import Count, Number
from bus.messages.case_file import CaseFile
from bus.messages.header import Closed, Header


class Colour(StrEnum):
    """The instruments by colour; a wanted person diffusion is the red one."""

    RED = "red"
    BLUE = "blue"
    GREEN = "green"
    YELLOW = "yellow"
    BLACK = "black"
    ORANGE = "orange"
    PURPLE = "purple"
    SILVER = "silver"
    UNSC = "unsc"


class WithdrawalReason(StrEnum):
    """Why a source takes its own record back (RPD, Article 81)."""

    PURPOSE_MET = "purpose_met"
    BASIS_GONE = "basis_gone"
    ERROR = "error"


class AlertClaims(Closed, frozen=True):
    """`membership_number` is the membership under which zones were expanded to codes."""

    colour: Colour
    membership_number: Count


class NoticeClaims(Closed, frozen=True):
    """A published notice; `number` is the secretariat's number on the record."""

    colour: Colour
    number: Number


class WithdrawalClaims(Closed, frozen=True):
    """A withdrawal ends the whole record, whatever version it names."""

    reason: WithdrawalReason


class Diffusion(Header, frozen=True, kw_only=True, tag="diffusion"):
    """Sent by a bureau directly to others; delivered first, reviewed afterwards."""

    claims: AlertClaims


class Amendment(Header, frozen=True, kw_only=True, tag="amendment"):
    """A new version of the source's own record, pending until its own decision."""

    claims: AlertClaims


class NoticeRequest(Header, frozen=True, kw_only=True, tag="notice_request"):
    """Asks the secretariat to review and publish a notice."""

    claims: AlertClaims


class Notice(Header, frozen=True, kw_only=True, tag="notice"):
    """Published by the secretariat after review."""

    claims: NoticeClaims


class Withdrawal(Header, frozen=True, kw_only=True, tag="withdrawal"):
    """The source ends its own record."""

    claims: WithdrawalClaims


AlertBody = CaseFile
