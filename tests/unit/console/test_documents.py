"""Generated documents: up to date, complete, and an AsyncAPI document that is one."""

import re
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest

from bus.identifiers import QueueKind
from bus.messages.catalogue import KINDS
from bus.refusals import CATALOGUE
from bus.statements import IssuedStatement
from bus.topology import network_topology
from console.documents import FOLDER
from console.documents.__main__ import main
from console.documents.asyncapi import asyncapi_document
from console.documents.forms import NAMED, in_words
from console.documents.generated import documents
from tests.factories import (
    amendment,
    decision,
    diffusion,
    message,
    retraction,
    review_opened,
    withdrawal,
)

PROTOCOL = documents()["protocol.md"]
DOCUMENT = asyncapi_document()

# The fixed fields of the AsyncAPI 3.0.0 specification, object by object; `x-` fields are free.
FIXED_FIELDS = {
    "root": {"asyncapi", "id", "info", "servers", "defaultContentType", "channels", "operations",
             "components"},
    "info": {"title", "version", "description", "termsOfService", "contact", "license", "tags",
             "externalDocs"},
    "server": {"host", "protocol", "protocolVersion", "pathname", "description", "title",
               "summary", "variables", "security", "tags", "externalDocs", "bindings"},
    "channel": {"address", "messages", "title", "summary", "description", "servers", "parameters",
                "tags", "externalDocs", "bindings"},
    "parameter": {"enum", "default", "description", "examples", "location"},
    "operation": {"action", "channel", "title", "summary", "description", "security", "tags",
                  "externalDocs", "bindings", "traits", "messages", "reply"},
    "message": {"headers", "payload", "correlationId", "contentType", "name", "title", "summary",
                "description", "tags", "externalDocs", "bindings", "examples", "traits"},
    "components": {"schemas", "servers", "channels", "operations", "messages", "securitySchemes",
                   "serverVariables", "parameters", "correlationIds", "replies", "replyAddresses",
                   "externalDocs", "tags", "operationTraits", "messageTraits", "serverBindings",
                   "channelBindings", "operationBindings", "messageBindings"},
}  # fmt: skip


class TestDrift:
    """What is committed is what the code says."""

    def test_committed_documents_are_up_to_date(self, capsys: pytest.CaptureFixture[str]) -> None:
        """A change of structs, catalogues or topology shows in the same commit."""
        assert main(["--check"]) == 0
        assert capsys.readouterr().err == ""

    def test_difference_is_named_with_its_mend_and_nothing_is_written(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """The exit code is 1, so that a check can fail on it."""
        assert main(["--folder", str(tmp_path)]) == 0
        (tmp_path / "protocol.md").write_text("old")
        (tmp_path / "asyncapi.json").unlink()
        assert main(["--check", "--folder", str(tmp_path)]) == 1
        told = capsys.readouterr().err.splitlines()
        assert [re.sub(r".*/", "", line) for line in told] == [
            "protocol.md is not up to date: run 'make docs'",
            "asyncapi.json is not up to date: run 'make docs'",
        ]
        assert (tmp_path / "protocol.md").read_text() == "old"

    def test_documents_do_not_depend_on_when_they_are_written(self) -> None:
        """The same code gives the same octets."""
        assert documents() == documents()
        assert all((FOLDER / name).is_file() for name in documents())


class TestProtocol:
    """`docs/protocol.md` leaves nothing out."""

    @pytest.mark.parametrize("name", KINDS)
    def test_statement_type_has_its_section(self, name: str) -> None:
        """With type string, signers, record rule, and every claim."""
        section = PROTOCOL.split(f"\n### {name}\n", 1)[1].split("\n### ", 1)[0]
        kind = KINDS[name]
        assert kind.payload_type in section
        assert f"Signed by: {', '.join(sorted(kind.signers))}" in section
        assert f"`record`: {kind.record.value}" in section
        for field in msgspec.structs.fields(kind.claims):
            assert f"| `{field.encode_name}` |" in section

    def test_every_refusal_is_listed_with_its_step(self) -> None:
        """In the order in which verification comes upon them."""
        listed = re.findall(r"^\| (\d+|handler) \| `([a-z_]+)` \|", PROTOCOL, re.MULTILINE)
        assert listed == [
            (str(each.step) if each.step else "handler", code) for code, each in CATALOGUE.items()
        ]

    def test_all_twelve_steps_are_there(self) -> None:
        """Taken from the module that carries them out."""
        steps = PROTOCOL.split("## 9. Verification", 1)[1].split("A refusal is definite", 1)[0]
        assert re.findall(r"^(\d+)\.", steps, re.MULTILINE) == [str(n) for n in range(1, 13)]

    def test_every_form_that_is_named_is_explained(self) -> None:
        """A reader never meets a name in a table without its table."""
        named = set(re.findall(r"^\| `[a-z_]+` \| .*?`([A-Z]\w+)`", PROTOCOL, re.MULTILINE))
        explained = set(re.findall(r"^\| `([A-Z]\w+)` \|", PROTOCOL, re.MULTILINE))
        assert named <= explained
        assert set(NAMED.values()) <= explained

    def test_rights_are_those_of_the_topology(self) -> None:
        """What a member may publish and read, as the definitions file says it."""
        topology = network_topology(["XA"])
        [permission] = [each for each in topology.permissions if each.user == "XA"]
        for pattern in (permission.write, permission.read):
            assert f"`{pattern}`".replace("|", "\\|") in PROTOCOL

    def test_lines_of_prose_are_not_longer_than_a_page(self) -> None:
        """Tables and lists may be; sentences are wrapped."""
        kept = ("|", "-", "#", " ", "  ", "<!--")
        long = [line for line in PROTOCOL.splitlines() if len(line) > 100]
        assert [line for line in long if not line.startswith(kept)] == []

    def test_form_without_words_is_an_error(self) -> None:
        """A new kind of type has to be given words before it can be documented."""
        with pytest.raises(TypeError, match="no words for"):
            in_words(tuple[int, str])


def objects() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every object of the document whose fields the specification fixes."""
    yield "root", DOCUMENT
    yield "info", DOCUMENT["info"]
    yield "components", DOCUMENT["components"]
    for part, kind in (("servers", "server"), ("channels", "channel"), ("operations", "operation")):
        yield from ((kind, each) for each in DOCUMENT[part].values())
    yield from (("message", each) for each in DOCUMENT["components"]["messages"].values())
    for channel in DOCUMENT["channels"].values():
        yield from (("parameter", each) for each in channel["parameters"].values())


def references(value: Any) -> Iterator[str]:  # noqa: ANN401  (any part of a JSON document)
    """Yield every reference in a part of the document."""
    if isinstance(value, dict):
        yield from ([value["$ref"]] if isinstance(value.get("$ref"), str) else [])
        for part in value.values():
            yield from references(part)
    elif isinstance(value, list):
        for part in value:
            yield from references(part)


def resolved(reference: str) -> Any:  # noqa: ANN401  (any part of a JSON document)
    """Return what a reference points to."""
    assert reference.startswith("#/")
    value: Any = DOCUMENT
    for part in reference.removeprefix("#/").split("/"):
        value = value[part.replace("~1", "/").replace("~0", "~")]
    return value


class TestAsyncAPI:
    """`docs/asyncapi.json` against the rules of AsyncAPI 3.0.0 that concern it."""

    def test_objects_have_only_fields_of_the_specification(self) -> None:
        """Anything else begins with `x-`."""
        for kind, each in objects():
            unknown = {name for name in each if not name.startswith("x-")} - FIXED_FIELDS[kind]
            assert (kind, unknown) == (kind, set())

    def test_required_fields_are_there(self) -> None:
        """Version, title, host, protocol, and an action and channel for each operation."""
        assert DOCUMENT["asyncapi"] == "3.0.0"
        assert DOCUMENT["info"]["title"]
        assert DOCUMENT["info"]["version"]
        assert all({"host", "protocol"} <= set(each) for each in DOCUMENT["servers"].values())
        for operation in DOCUMENT["operations"].values():
            assert operation["action"] in ("send", "receive")
            assert operation["channel"]["$ref"].startswith("#/channels/")

    def test_every_reference_leads_somewhere(self) -> None:
        """Within the document, and to nothing empty."""
        found = set(references(DOCUMENT))
        assert len(found) > len(KINDS)
        assert all(resolved(reference) for reference in found)

    def test_every_schema_is_used(self) -> None:
        """Nothing is left over from structs that are gone."""
        prefix = "#/components/schemas/"
        used = {each.removeprefix(prefix) for each in references(DOCUMENT) if prefix in each}
        assert used == set(DOCUMENT["components"]["schemas"])

    def test_parameters_are_those_of_the_address(self) -> None:
        """Each placeholder is explained, and nothing else is."""
        for channel in DOCUMENT["channels"].values():
            assert set(re.findall(r"{(\w+)}", channel["address"])) == set(channel["parameters"])

    def test_operations_use_messages_of_their_own_channel(self) -> None:
        """By reference through the channel, as the specification demands."""
        for operation in DOCUMENT["operations"].values():
            channel = operation["channel"]["$ref"]
            names = [each["$ref"].removeprefix(f"{channel}/messages/")
                     for each in operation["messages"]]  # fmt: skip
            assert names == list(resolved(channel)["messages"])

    @pytest.mark.parametrize("kind", QueueKind)
    def test_statement_types_are_in_the_channels_of_their_queue_kind(self, kind: QueueKind) -> None:
        """Published to the exchange and received from the queue that the topology has."""
        expected = [each.message_type for each in KINDS.values() if each.queue is kind]
        for name in (kind.value, f"{kind.value}_queue"):
            assert list(DOCUMENT["channels"][name]["messages"]) == expected
        exchange = DOCUMENT["channels"][kind.value]["bindings"]["amqp"]["exchange"]["name"]
        assert exchange in {each.name for each in network_topology(["XA"]).exchanges}

    def test_schemas_are_json_schemas_in_a_portable_dialect(self) -> None:
        r"""Regular expressions have no `\Z`, which only Python knows."""
        for schema in DOCUMENT["components"]["schemas"].values():
            jsonschema.Draft7Validator.check_schema(schema)
        assert r"\\Z" not in documents()["asyncapi.json"]


def schema(reference: str) -> dict[str, Any]:
    """Return a schema with what it needs to resolve its references."""
    return {"$ref": reference, "components": DOCUMENT["components"]}


def problems(name: str, envelope: dict[str, Any]) -> list[str]:
    """Check an envelope, then its payload and body by their content schemas."""
    declared = DOCUMENT["components"]["messages"][name]["payload"]
    whole = {**declared, "components": DOCUMENT["components"]}
    found = [error.message for error in jsonschema.Draft7Validator(whole).iter_errors(envelope)]
    inside = declared["allOf"][1]["properties"]
    parts = [(inside["payload"], envelope["payload"])]
    if envelope["attachment"] is not None:
        parts.append((inside["attachment"]["properties"]["body"], envelope["attachment"]["body"]))
    for part, octets in parts:
        content = msgspec.msgpack.decode(b64decode(octets))
        validator = jsonschema.Draft7Validator(schema(part["contentSchema"]["$ref"]))
        found += [error.message for error in validator.iter_errors(as_json(content))]
    return found


def as_json(value: Any) -> Any:  # noqa: ANN401  (any value of the wire)
    """Return a value with its binaries in base64, as JSON has them."""
    return msgspec.to_builtins(value)


FIRST = diffusion()
STATEMENTS: dict[str, IssuedStatement] = {
    "diffusion": FIRST,
    "amendment": amendment(FIRST),
    "withdrawal": withdrawal(FIRST),
    "message": message(),
    "review_opened": review_opened(FIRST),
    "review_decision": decision(FIRST),
    "retraction": retraction(FIRST),
}


@pytest.mark.parametrize("name", STATEMENTS)
def test_real_statement_fits_its_schema(name: str) -> None:
    """What travels is what the document promises, down to the body."""
    assert problems(name, as_json(STATEMENTS[name].envelope)) == []


def test_schema_notices_a_statement_of_another_type() -> None:
    """The document is strict: type string, unknown fields and closed forms are all checked."""
    assert problems("message", as_json(FIRST.envelope)) != []
    fields = msgspec.msgpack.decode(FIRST.envelope.payload)
    altered = msgspec.structs.replace(
        FIRST.envelope, payload=msgspec.msgpack.encode({**fields, "source": "xa", "extra": 1})
    )
    found = " ".join(problems("diffusion", as_json(altered)))
    assert "'xa' does not match" in found
    assert "'extra' was unexpected" in found
