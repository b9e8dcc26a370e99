"""The residual scan: does a copy of what was deleted lie anywhere where one can look?

It reads the raw octets of databases (free pages included), write-ahead logs, queues, dead letters,
logs and exports. What a broker keeps in its own files is reported apart: no member can erase there.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from msgspec import Struct

from bus.errors import StoreUnreadable
from simulation.canaries import Canaries
from simulation.evidence.store_copies import StoreCopy, opened, page_bytes, values_on_several_pages
from simulation.residue.canary_search import CanarySearch

_POINTER_BYTES: Final = 4


class SurfaceKind(StrEnum):
    """Where a copy can lie."""

    DATABASE = "database"
    WRITE_AHEAD_LOG = "write-ahead log"
    QUEUE = "queue"
    DEAD_LETTER = "dead letter"
    LOG = "log"
    EXPORT = "export"
    BROKER_DISK = "broker disk"


class Surface(Struct, frozen=True):
    """Octets of one place: whose it is, and its name there."""

    kind: SurfaceKind
    node: str
    name: str
    octets: bytes


class DeadCanary(Struct, frozen=True):
    """A canary that nothing may contain any more.

    It marks a version, or (`is_person`) somebody of whom no live record is left; then `source` and
    `record_id` name that person's last record. What never became a record is named by its label
    alone, with an empty source. `subject` is the person.
    """

    canary: str
    label: str
    subject: str
    source: str
    record_id: str
    is_person: bool = False


class Sighting(Struct, frozen=True):
    """A dead canary that was found."""

    canary: str
    kind: SurfaceKind
    node: str
    name: str
    encoding: str


class ScanResult(Struct, frozen=True):
    """What a scan looked for and found.

    `broker_disk_copies` counts the canaries found in the broker's own files.
    """

    dead: Mapping[str, DeadCanary]
    sightings: frozenset[Sighting]
    broker_disk_copies: int
    surfaces: int
    octets: int


NOTHING_SCANNED: Final = ScanResult(MappingProxyType({}), frozenset(), 0, 0, 0)


def scan(
    canaries: Canaries,
    dead: Mapping[str, DeadCanary],
    stores: Mapping[str, StoreCopy],
    surfaces: Sequence[Surface],
) -> ScanResult:
    """Look for dead canaries in stores and other surfaces. A store need not be readable as one."""
    search = CanarySearch(canaries)
    every = [*_store_surfaces(stores), *surfaces]
    sightings = {
        Sighting(canary, surface.kind, surface.node, surface.name, encoding)
        for surface in every
        for canary, encoding in _found_in(search, surface)
        if canary in dead
    }
    return ScanResult(
        dead=dead,
        sightings=frozenset(
            sighting for sighting in sightings if sighting.kind is not SurfaceKind.BROKER_DISK
        ),
        broker_disk_copies=len({s.canary for s in sightings if s.kind is SurfaceKind.BROKER_DISK}),
        surfaces=len(every),
        octets=sum(len(surface.octets) for surface in every),
    )


def _store_surfaces(stores: Mapping[str, StoreCopy]) -> Iterator[Surface]:
    for party, copy in stores.items():
        yield Surface(SurfaceKind.DATABASE, party, "store", copy.image)
        long_values = _long_values(party, copy)
        if long_values:
            yield Surface(SurfaceKind.DATABASE, party, "store", long_values)
        if copy.wal:
            yield Surface(SurfaceKind.WRITE_AHEAD_LOG, party, "store", copy.wal)


def _long_values(party: str, copy: StoreCopy) -> bytes:
    """Return values that may lie on several pages, each in one piece."""
    try:
        with opened(party, copy) as store:
            return b"\x00".join(values_on_several_pages(store))
    except StoreUnreadable:
        return b""  # its raw octets are scanned all the same


def _found_in(search: CanarySearch, surface: Surface) -> Iterator[tuple[str, str]]:
    for find in search.finds(surface.octets):
        yield find.canary, find.encoding
    if surface.kind is SurfaceKind.DATABASE:
        yield from ((canary, "raw") for canary in _split(search, surface.octets))


def _split(search: CanarySearch, image: bytes) -> Iterable[str]:
    """Return raw canaries that begin on one page of a database and go on on its overflow page.

    An overflow page begins with the number of the next one; the first part of a value ends with
    the number of the page on which it goes on.
    """
    size = page_bytes(image)
    if not size:
        return
    head = re.compile(
        rb"(?:%b)-[VP][0-9a-f]{12}"
        % b"|".join(search.marker[cut:] for cut in range(1, len(search.marker) + 1))
    )
    for page in range(0, len(image), size):
        begin = page + _POINTER_BYTES
        found = head.match(image, begin, begin + search.length)
        if found:
            digits = found.group().rpartition(b"-")[2]
            yield f"{search.marker.decode()}-{digits.decode()}"
    part = re.compile(rb"%b(?:-(?:[VP][0-9a-f]{0,11})?)?" % search.marker)
    for found in part.finditer(image):
        end = found.end()
        number = int.from_bytes(image[end : end + _POINTER_BYTES], "big")
        begin = (number - 1) * size + _POINTER_BYTES
        rest = image[begin : begin + search.length - len(found.group())] if number else b""
        whole = search.pattern.fullmatch(found.group() + rest)
        if whole:
            yield whole.group().decode()
