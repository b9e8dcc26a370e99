"""What containers may do and see, and its form as YAML."""

from typing import Any

import pytest

from simulation.compose.document import (
    Owner,
    PartyService,
    compose_document,
    yaml_text,
)
from simulation.networks.party_process import party_module

PARTIES = [
    PartyService("IPSG", "secretariat"),
    PartyService("NO", "ncb_nodes"),
    PartyService("XA", "simulation.networks.hosted_node"),
]
DOCUMENT = compose_document(PARTIES, ["first_light", "--seed", "a$b"], Owner(1000, 1001))
SERVICES: dict[str, dict[str, Any]] = DOCUMENT["services"]


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_every_service_is_confined(name: str) -> None:
    """No service runs as root, writes to its image, has a capability, a port or memory at will."""
    service = SERVICES[name]
    assert service["user"] == "${I247_UID:-1000}:${I247_GID:-1001}"
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["mem_limit"].endswith("m")
    assert service["pids_limit"] > 0
    assert service["networks"] == ["bus"]
    assert not service.keys() & {"ports", "privileged", "cap_add", "devices", "env_file"}


def test_network_leads_nowhere() -> None:
    """The one network that the services share has no way out."""
    assert DOCUMENT["networks"] == {"bus": {"internal": True}}


def test_service_sees_its_own_folder_and_its_own_volume() -> None:
    """A party mounts what is its own; only the runner sees stores of others, and cannot write."""
    assert SERVICES["broker"]["volumes"] == ["./broker:/etc/rabbitmq:ro"]
    assert SERVICES["ipsg"]["volumes"] == ["./ipsg:/i247:ro", "ipsg:/data"]
    assert SERVICES["no"]["volumes"] == ["./no:/i247:ro", "no:/data"]
    assert SERVICES["runner"]["volumes"] == [
        "./runner:/i247:ro",
        "ipsg:/data/IPSG:ro",
        "no:/data/NO:ro",
        "xa:/data/XA:ro",
        "./runs:/home/i247/runs",
    ]
    assert DOCUMENT["volumes"].keys() == {"ipsg", "no", "xa"}


def test_runner_waits_until_everybody_is_healthy() -> None:
    """The story begins when broker and parties answer their health checks."""
    healthy = {"condition": "service_healthy"}
    waited_for = SERVICES["runner"]["depends_on"]
    assert waited_for == dict.fromkeys(["broker", "ipsg", "no", "xa"], healthy)
    assert all("healthcheck" in SERVICES[name] for name in waited_for)


def test_runner_is_told_the_story_and_a_dollar_stays_a_dollar() -> None:
    """What the runner is told reaches it as it was given; Compose would replace a variable."""
    words = ["i247", "run", "first_light", "--seed", "a$$b", "--bus", "rabbitmq"]
    assert SERVICES["runner"]["command"] == [*words, "--attach", "/i247"]


@pytest.mark.parametrize(
    ("party", "has_profile", "module"),
    [
        ("IPSG", False, "secretariat"),
        ("XA", False, "ncb_nodes"),
        ("XA", True, "simulation.networks.hosted_node"),
    ],
)
def test_party_runs_the_module_of_its_role(party: str, has_profile: bool, module: str) -> None:  # noqa: FBT001
    """Only a member with a profile runs code that can misbehave."""
    assert party_module(party, has_profile=has_profile) == module


def test_document_reads_as_yaml() -> None:
    """Plain texts stand plain, all else is quoted, long lists have a line an item."""
    document = {
        "plain": {"path": "/a/b-c.d", "truth": True, "number": 8, "nothing": {}},
        "no": {"text": "no", "version": "1.0", "variable": "${A:-b}", "quote": 'a "b"'},
        "short": ["A", 1],
        "long": ["x" * 60, "- y: #" * 10],
    }
    assert yaml_text(document) == (
        "plain:\n"
        "  path: /a/b-c.d\n"
        "  truth: true\n"
        "  number: 8\n"
        "  nothing: {}\n"
        '"no":\n'
        '  text: "no"\n'
        '  version: "1.0"\n'
        '  variable: "${A:-b}"\n'
        '  quote: "a \\"b\\""\n'
        'short: ["A", 1]\n'
        "long:\n"
        f"  - {'x' * 60}\n"
        f'  - "{"- y: #" * 10}"\n'
    )


def test_services_of_any_member_code_stay_text() -> None:
    """Norway's service is named `no`, which YAML would take for a truth value."""
    lines = yaml_text(DOCUMENT).splitlines()
    assert '  "no":' in lines
    assert "  no:" not in lines
