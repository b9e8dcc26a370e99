"""The rogue is independent of us, and the example of the protocol's page is right by its lights."""

import ast
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.acceptance import rogue_client, rogue_forgeries, rogue_msgpack
from tests.acceptance.rogue_client import Rogue, pae
from tests.acceptance.rogue_msgpack import packed, unpacked
from tests.contract.rogue_stage import PAGE_PATH
from tests.factories import NOW

OURS = {"bus", "ncb_nodes", "secretariat", "simulation", "console"}
EXAMPLE = PAGE_PATH.read_text().split("## 11. Example", 1)[1]


def imported(path: Path) -> set[str]:
    """Return the modules that a file imports."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    return names


@pytest.mark.parametrize("module", [rogue_client, rogue_forgeries, rogue_msgpack])
def test_rogue_imports_nothing_of_ours(module: object) -> None:
    """Neither our packages nor a test helper that does; only its own three modules."""
    path = Path(str(getattr(module, "__file__", "")))
    names = imported(path)
    assert {name.split(".")[0] for name in names} & OURS == set()
    assert all(
        name.startswith("tests.acceptance.rogue_") for name in names if name.startswith("tests")
    )


def value(name: str) -> bytes:
    """Return a value of the page's example by its name."""
    found = re.search(rf"^{re.escape(name)}:\n\n((?:    [0-9a-f]+\n?)+)", EXAMPLE, re.MULTILINE)
    assert found is not None
    return bytes.fromhex("".join(found.group(1).split()))


def test_example_of_the_page_is_what_the_rogue_computes() -> None:
    """From private key, nonce, body and header alone: every other value, and the octets."""
    key = Ed25519PrivateKey.from_private_bytes(value("private key (of this example only)"))
    rogue = Rogue("XA", key, datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=NOW))
    header = unpacked(value("payload"))
    commitment = header.pop("body_commitment")
    claims = header.pop("claims")
    ordered = {**header, "body_commitment": None, "claims": claims}
    signed = rogue.sign(ordered, unpacked(value("body")), nonce=value("nonce"))
    assert bytes.fromhex(rogue.key_id) == value("keyid")
    assert commitment == value("body_commitment")
    assert packed(unpacked(value("body"))) == value("body")
    assert pae(signed.fields["payload_type"], signed.fields["payload"]) == value("PAE")
    assert signed.digest == value("statement digest")
    assert signed.fields["signatures"][0]["sig"] == value("sig")
    assert signed.octets == value("the envelope as it travels")
