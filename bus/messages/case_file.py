"""What a diffusion says of a person: the detached body, the only place for personal data.

All persons are synthetic. Every text is free, bounded and untrusted wherever it is shown.
"""

from enum import StrEnum
from typing import Annotated, Final

from msgspec import Meta

from bus.messages.header import Closed

TEXT_CHARACTERS_MAX: Final = 4_000
NAME_CHARACTERS_MAX: Final = 200

Text = Annotated[str, Meta(max_length=TEXT_CHARACTERS_MAX, description="free text")]
Name = Annotated[str, Meta(max_length=NAME_CHARACTERS_MAX, description="short free text")]
DateText = Annotated[
    str, Meta(pattern=r"^[0-9]{4}-[01][0-9]-[0-3][0-9]\Z", description="calendar day")
]
CountryCode = Annotated[str, Meta(pattern=r"^[A-Z]{2}\Z", description="two capital letters")]


class SubjectStatus(StrEnum):
    """Why the person is in the file; whoever records a person must say so (RPD, Article 44)."""

    WANTED_FOR_PROSECUTION = "wanted_for_prosecution"
    CONVICTED = "convicted"
    SUSPECT = "suspect"
    WITNESS = "witness"
    MISSING = "missing"


class Person(Closed, frozen=True):
    """The data subject, always fictional. `identity_number` carries the person's canary."""

    family_name: Name
    forename: Name
    date_of_birth: DateText | None
    sex: Annotated[str, Meta(pattern=r"^[FMX]\Z", description="F, M or X")]
    nationalities: Annotated[list[CountryCode], Meta(max_length=8)]
    identity_number: Name


class Offence(Closed, frozen=True):
    """`code` is an entry of the offence list that screening knows (`secretariat.offences`)."""

    code: Annotated[str, Meta(pattern=r"^[a-z_]{3,40}\Z", description="entry of the offence list")]
    facts: Text
    place: Name
    committed_on: DateText | None


class Warrant(Closed, frozen=True):
    """The arrest warrant or judgment that the alert rests on."""

    reference: Name
    court: Name
    issued_on: DateText
    valid_until: DateText | None


class CaseFile(Closed, frozen=True):
    """Body of a diffusion or amendment. `file_reference` carries the version's canary.

    Fields that a careless or abusive source leaves out are empty or None: missing data is a matter
    of compliance, found in screening, and not of form.
    """

    file_reference: Name
    subject: Person
    subject_status: SubjectStatus
    offence: Offence
    warrant: Warrant | None
    requested_action: Text
