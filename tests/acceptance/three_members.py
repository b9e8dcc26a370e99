"""A story of three members for tests over a real RabbitMQ, and what it leaves behind.

=============  ======  ==========  ========================================================
alert          source  addressees  what becomes of it
=============  ======  ==========  ========================================================
icons          XA      all         validated
treasurer      XA      XB, XC      rejected and deleted; XB signs and keeps it (planted)
found at home  XC      XA, XB      withdrawn by its source while XC is about to go away
late to one    XB      XA, XC      rejected; reaches XA only after its own retraction
forged         XB      XA          its signature does not verify
=============  ======  ==========  ========================================================
"""

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from bus.instants import HOUR
from secretariat.review import ReviewSettings
from simulation.evidence.store_copies import opened
from simulation.networks.network import Network
from simulation.plan import Plan
from simulation.profiles import Deviation
from simulation.run_tools import abuse_tools
from simulation.scenario import Alert, Defect, Event, Scenario
from simulation.story import IssuedVersion, Story
from simulation.workload import plan

SEED: Final = "7"
GONE_SECONDS_MAX: Final = 15.0
MEMORY_KIBIBYTES_MAX: Final = 80 * 1024
"""Of one party's process."""

THREE_MEMBERS: Final = Scenario(
    format_version=1,
    name="three_members",
    title="Three members",
    summary="A short story for tests.",
    begins="2024-03-04T00:00:00.000Z",
    days=4,
    members=("XA", "XB", "XC"),
    review=ReviewSettings(reviewers=9, review_shortest=6 * HOUR, review_longest=12 * HOUR),
    profiles={"XB": "signs_without_deleting"},
    alerts=(
        Alert("icons", "XA", "3h", ("ALL",)),
        Alert("treasurer", "XA", "6h", ("XB", "XC"), Defect.POLITICAL),
        Alert("found at home", "XC", "6h", ("XA", "XB")),
        Alert(
            "late to one",
            "XB",
            "9h",
            ("XA", "XC"),
            Defect.WARRANT_MISSING,
            held_back={"XA": "3d"},
        ),
    ),
    events=(
        Event("withdraw", "12h", label="found at home"),
        Event("away", "15h", member="XC", until="3d 06h"),
        Event("inject", "1d", member="XB", label="forged", abuse="forged_signature", to=("XA",)),
        Event("message", "2d", member="XA", to=("XB", "XC"), text="Thank you for your help."),
    ),
)

_KEPT: Final[Mapping[str, str]] = {
    "versions": "*",
    "records": "*",
    "quarantine": "received_at, code, source, message_type, message_id",
    "history": "at, event, message_id, source, record_id, state",
    "outbox_mail": "message_id, recipient, state, confirmed_at",
    "obligations": "*",
    "cases": "*",
}
"""What must not depend on the bus, nor on keys, which are random: columns by table."""


class Ending(Struct, frozen=True):
    """What a story left behind, by party and table."""

    versions: list[IssuedVersion]
    rows: dict[tuple[str, str], list[str]]
    deviations: set[Deviation]
    waiting: dict[str, int]


def planned(scenario: Scenario = THREE_MEMBERS) -> Plan:
    """Return what happens in the story."""
    return plan(scenario, SEED)


async def tell(network: Network, scenario: Scenario = THREE_MEMBERS) -> Ending:
    """Drive a network through the story and return what it left behind; the network goes on."""
    what = planned(scenario)
    tools = abuse_tools(scenario, what, SEED, network)
    told = await Story(scenario, what, network, tools, lambda _: None).tell()
    rows = {}
    for party, copy in (await network.store_copies()).items():
        with opened(party, copy) as store:
            tables = [row[0] for row in store.execute("SELECT name FROM sqlite_master")]
            for table in _KEPT.keys() & set(tables):
                found = store.execute(f"SELECT {_KEPT[table]} FROM {table}").fetchall()  # noqa: S608
                rows[party, table] = sorted(map(repr, found))
    contents = await network.queue_contents()
    waiting = {queue: len(messages) for queue, messages in contents.items() if messages}
    return Ending(told.versions, rows, set(network.deviations()), waiting)


def lives(pid: int) -> bool:
    """Tell whether a process is there and not merely waiting to be reaped."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def resident_kibibytes(pid: int) -> int:
    """Return the most memory that a process ever had."""
    status = Path(f"/proc/{pid}/status").read_text()
    [line] = [line for line in status.splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1])


def processes_naming(text: str) -> dict[int, str]:
    """Return the command lines in which a text, such as a folder, occurs; not our own."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if text in command and int(folder.name) != os.getpid():
            found[int(folder.name)] = command
    return found


def folder_of(pid: int) -> Path:
    """Return the run's folder, from the command line of one of its processes."""
    words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
    return Path(words[words.index("--settings") + 1]).parents[1]


def check_gone(folder: Path, *pids: int) -> None:
    """Fail unless processes, and whatever names their folder, and the folder are gone soon."""
    deadline = time.monotonic() + GONE_SECONDS_MAX
    while time.monotonic() < deadline:
        left: dict[Any, Any] = {pid: "lives" for pid in pids if lives(pid)}
        left |= processes_naming(str(folder))
        left |= {folder: "exists"} if folder.exists() else {}
        if not left:
            return
        time.sleep(0.05)
    raise AssertionError(f"left behind: {left}")
