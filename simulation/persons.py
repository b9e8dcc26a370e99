"""Synthetic persons and case files: every one invented from the seed, none of a real person."""

from datetime import UTC, datetime, timedelta
from typing import Final

from faker import Faker

from bus.identifiers import IdentifierSource
from bus.instants import Instant, instant_to_text
from bus.messages.case_file import CaseFile, Offence, Person, SubjectStatus, Warrant
from secretariat.offences import OFFENCES, Character
from simulation.canaries import Canaries
from simulation.scenario import Defect

_LOCALE: Final = "en_GB"
_ADULT_YEARS: Final = (18, 75)
_DAYS_PER_YEAR: Final = 365
_CHARACTER_OF_DEFECT: Final = {
    Defect.POLITICAL: Character.POLITICAL,
    Defect.RELIGIOUS: Character.RELIGIOUS,
    Defect.MILITARY: Character.MILITARY,
    Defect.RACIAL: Character.RACIAL,
    Defect.PRIVATE_DISPUTE: Character.PRIVATE_DISPUTE,
}


class CaseFiles:
    """Makes persons and case files, each drawn for its own subject."""

    def __init__(self, identifiers: IdentifierSource, canaries: Canaries) -> None:
        self._identifiers = identifiers
        self._canaries = canaries
        self._faker = Faker(_LOCALE)

    def person(self, subject: str, nationality: str) -> Person:
        """Return the invented person who belongs to a subject, always the same one."""
        draw = self._identifiers
        self._faker.seed_instance(int.from_bytes(draw.octets("person", subject, 8), "big"))
        male = draw.fraction("sex", subject) < 0.5  # noqa: PLR2004  (an even draw)
        youngest, oldest = _ADULT_YEARS
        years = youngest + draw.fraction("age", subject) * (oldest - youngest)
        born = datetime(2024, 1, 1, tzinfo=UTC) - timedelta(days=int(years * _DAYS_PER_YEAR))
        return Person(
            family_name=self._faker.last_name(),
            forename=self._faker.first_name_male() if male else self._faker.first_name_female(),
            date_of_birth=f"{born:%Y-%m-%d}",
            sex="M" if male else "F",
            nationalities=[nationality],
            identity_number=self._canaries.of_person(subject),
        )

    def case_file(
        self,
        label: str,
        version: int,
        person: Person,
        defect: Defect,
        now: Instant,
    ) -> CaseFile:
        """Return a case file, compliant but for the defect."""
        draw = self._identifiers
        self._faker.seed_instance(int.from_bytes(draw.octets("case", label, 8), "big"))
        today = datetime.strptime(instant_to_text(now)[:10], "%Y-%m-%d").replace(tzinfo=UTC)
        issued = today - timedelta(days=30 + int(300 * draw.fraction("warrant", label)))
        warrant = Warrant(
            reference=f"W-{draw.octets('warrant', label, 4).hex()}",
            court=f"District Court of {self._faker.city()}",
            issued_on=f"{issued:%Y-%m-%d}",
            valid_until=None,
        )
        if defect is Defect.WARRANT_EXPIRED:
            yesterday = today - timedelta(days=1)
            warrant = Warrant(
                warrant.reference, warrant.court, warrant.issued_on, f"{yesterday:%Y-%m-%d}"
            )
        missing = defect is Defect.REQUIRED_DATA_MISSING
        committed = issued - timedelta(days=20)
        return CaseFile(
            file_reference=f"FILE/{self._canaries.of_version(label, version)}",
            subject=person,
            subject_status=SubjectStatus.WANTED_FOR_PROSECUTION,
            offence=Offence(
                code=self._offence(label, defect),
                facts="" if missing else self._faker.sentence(nb_words=14),
                place="" if missing else self._faker.city(),
                committed_on=None if missing else f"{committed:%Y-%m-%d}",
            ),
            warrant=None if defect is Defect.WARRANT_MISSING else warrant,
            requested_action="Locate and arrest with a view to extradition.",
        )

    def _offence(self, label: str, defect: Defect) -> str:
        character = _CHARACTER_OF_DEFECT.get(defect, Character.ORDINARY_LAW)
        codes = sorted(code for code, kind in OFFENCES.items() if kind is character)
        return codes[int(self._identifiers.fraction("offence", label) * len(codes))]
