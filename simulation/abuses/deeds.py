"""What an abuse is made of: orders that a bureau carries out, and octets that it publishes."""

from collections.abc import Callable, Mapping

from msgspec import Struct

from bus.host import Injection
from bus.identifiers import IdentifierSource
from bus.instants import Instant
from bus.messages.case_file import CaseFile
from ncb_nodes.orders import AnyOrder
from simulation.scenario import Defect


class Deed(Struct, frozen=True):
    """One thing that the abusing bureau does: an order, or octets published as they are."""

    order: AnyOrder | None = None
    injection: Injection | None = None


class AbuseRequest(Struct, frozen=True):
    """Who abuses, when, at whom, and under which label the result is spoken of.

    `of` names an earlier alert that the abuse builds on.
    """

    source: str
    at: Instant
    to: tuple[str, ...]
    label: str
    of: str = ""


class AbuseTools(Struct, frozen=True):
    """What an abuse may use: invented case files, public key ids, seeded identifiers.

    `case_file(request, defect)` returns a file on a person; with `request.of` on the person of
    that earlier alert.
    """

    identifiers: IdentifierSource
    key_ids: Mapping[str, str]
    case_file: Callable[[AbuseRequest, Defect], CaseFile]
    expand: Callable[[tuple[str, ...], str], tuple[str, ...]]
