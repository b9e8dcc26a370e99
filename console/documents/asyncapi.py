"""The AsyncAPI 3.0 document: channels and operations per kind of queue, a message per statement.

What travels is the envelope; the schema of each message says which type string it has and, by
`contentSchema`, what its payload and its body hold once they are decoded from msgpack.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

from msgspec.json import schema as json_schema
from msgspec.json import schema_components

from bus.envelope import SignedEnvelope
from bus.identifiers import QueueKind
from bus.messages.catalogue import KINDS, BodyRule, StatementKind
from bus.topology import VIRTUAL_HOST, exchange_name, queue_name
from console.documents.forms import NAMED, readable_pattern

JsonObject = dict[str, Any]

VERSION: Final = "1"
"""Of the wire; the type strings of all statements carry it."""
BINDING_VERSION: Final = "0.3.0"
ENVELOPE_CONTENT_TYPE: Final = "application/vnd.i247.envelope+msgpack"
BODY_CONTENT_TYPE: Final = "application/msgpack"
_REFERENCE: Final = "#/components/schemas/{name}"


def asyncapi_text() -> str:
    """Return the document as JSON text."""
    return json.dumps(asyncapi_document(), indent=2, ensure_ascii=False) + "\n"


def asyncapi_document() -> JsonObject:
    """Return the document."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "I-24/7 simulation",
            "version": VERSION,
            "description": (
                "Signed statements between National Central Bureaus and the General Secretariat of"
                " a simulated network. Fictional data; not affiliated with INTERPOL. Generated from"
                " the message structs; docs/protocol.md says what the fields mean."
            ),
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": ENVELOPE_CONTENT_TYPE,
        "servers": {"broker": _server()},
        "channels": {name: channel for kind in QueueKind for name, channel in _channels(kind)},
        "operations": {name: each for kind in QueueKind for name, each in _operations(kind)},
        "components": {
            "messages": {kind.message_type: _message(kind) for kind in KINDS.values()},
            "schemas": _schemas(),
            "securitySchemes": {
                "certificate": {
                    "type": "X509",
                    "description": (
                        "TLS client certificate, mechanism EXTERNAL; its common name is the user."
                    ),
                }
            },
        },
    }


def _server() -> JsonObject:
    return {
        "host": "{address}",
        "pathname": f"/{VIRTUAL_HOST}",
        "protocol": "amqps",
        "protocolVersion": "0.9.1",
        "description": "RabbitMQ 3.10 or 4.x with the definitions of the network.",
        "variables": {"address": {"default": "localhost:5671", "description": "host and port"}},
        "security": [{"$ref": "#/components/securitySchemes/certificate"}],
    }


def _of_kind(kind: QueueKind) -> list[StatementKind]:
    return [row for row in KINDS.values() if row.queue is kind]


def _channels(kind: QueueKind) -> list[tuple[str, JsonObject]]:
    """Return the exchange that is published to and the queue that is received from."""
    messages = {
        row.message_type: {"$ref": f"#/components/messages/{row.message_type}"}
        for row in _of_kind(kind)
    }
    exchange: JsonObject = {
        "is": "routingKey",
        "exchange": {
            "name": exchange_name(kind),
            "type": "topic",
            "durable": True,
            "autoDelete": False,
            "vhost": VIRTUAL_HOST,
        },
        "bindingVersion": BINDING_VERSION,
    }
    queue: JsonObject = {
        "is": "queue",
        "queue": {
            "name": queue_name(kind, "{party}"),
            "durable": True,
            "exclusive": False,
            "autoDelete": False,
            "vhost": VIRTUAL_HOST,
        },
        "bindingVersion": BINDING_VERSION,
    }
    publishing = {
        "address": "{user}.{message_type}.{recipient}",
        "title": f"The exchange {exchange_name(kind)}",
        "description": "The address is the routing key; one publication for each recipient.",
        "servers": [{"$ref": "#/servers/broker"}],
        "parameters": {
            "user": {"description": "the publisher's own code, as in its certificate"},
            "message_type": {"enum": list(messages), "description": "the statement's type"},
            "recipient": {"description": "the code of the one party that this copy is for"},
        },
        "messages": messages,
        "bindings": {"amqp": exchange},
    }
    receiving = {
        "address": queue_name(kind, "{party}"),
        "title": f"A party's queue of {kind.value}",
        "servers": [{"$ref": "#/servers/broker"}],
        "parameters": {"party": {"description": "the receiver's own code"}},
        "messages": messages,
        "bindings": {"amqp": queue},
    }
    return [(kind.value, publishing), (f"{kind.value}_queue", receiving)]


def _operations(kind: QueueKind) -> list[tuple[str, JsonObject]]:
    """Return what a party does with the channels of one kind."""

    def operation(action: str, channel: str, summary: str) -> JsonObject:
        return {
            "action": action,
            "channel": {"$ref": f"#/channels/{channel}"},
            "summary": summary,
            "messages": [
                {"$ref": f"#/channels/{channel}/messages/{row.message_type}"}
                for row in _of_kind(kind)
            ],
        }

    send = operation(
        "send",
        kind.value,
        "Publish with confirms, mandatory, persistent, and with user_id set to the own code.",
    )
    send["bindings"] = {
        "amqp": {
            "deliveryMode": 2,
            "mandatory": True,
            "bindingVersion": BINDING_VERSION,
        }
    }
    receive = operation(
        "receive", f"{kind.value}_queue", "Verify, take up or refuse, commit, and only then settle."
    )
    receive["bindings"] = {"amqp": {"ack": True, "bindingVersion": BINDING_VERSION}}
    return [(f"send_{kind.value}", send), (f"receive_{kind.value}", receive)]


def _message(kind: StatementKind) -> JsonObject:
    """Return one statement type: its envelope, and what is inside."""
    return {
        "name": kind.message_type,
        "title": kind.header.__name__,
        "summary": _first_sentence(kind.header),
        "contentType": ENVELOPE_CONTENT_TYPE,
        "payload": {
            "allOf": [
                {"$ref": _reference("SignedEnvelope")},
                {
                    "type": "object",
                    "properties": {
                        "payload_type": {"const": kind.payload_type},
                        "payload": {
                            "contentMediaType": kind.payload_type,
                            "contentSchema": {"$ref": _reference(kind.header.__name__)},
                        },
                        "attachment": _attachment(kind),
                    },
                },
            ]
        },
        "x-signers": sorted(kind.signers),
        "x-record": kind.record.value,
        "x-body": kind.body_rule.value,
        "x-addresses-secretariat": kind.addresses_secretariat,
        "x-may-expire": kind.may_expire,
    }


def _attachment(kind: StatementKind) -> JsonObject:
    if kind.body is None:
        return {"type": "null"}
    plain: JsonObject = {
        "type": "object",
        "properties": {
            "body": {
                "contentMediaType": BODY_CONTENT_TYPE,
                "contentSchema": {"$ref": _reference(kind.body.__name__)},
            }
        },
    }
    return plain if kind.body_rule is BodyRule.REQUIRED else {"anyOf": [{"type": "null"}, plain]}


def _schemas() -> JsonObject:
    forms = [SignedEnvelope]
    forms += [form for kind in KINDS.values() for form in (kind.header, kind.body) if form]  # type: ignore[misc]
    _, components = schema_components(forms, ref_template=_REFERENCE)
    named = {name: json_schema(form) for form, name in NAMED.items()}
    short = {name: _portable(components[name], named) for name in components}
    referred_to = json.dumps(short)
    short |= {
        name: _portable(form, {})
        for name, form in named.items()
        if f'"{_reference(name)}"' in referred_to
    }
    return {name: short[name] for name in sorted(short)}


def _portable(schema: Any, named: Mapping[str, JsonObject]) -> Any:  # noqa: ANN401  (any JSON)
    """Return a schema in the dialect of AsyncAPI: its regular expressions, its discriminator.

    What has a name of its own is referred to.
    """
    if isinstance(schema, list):
        return [_portable(part, named) for part in schema]
    if not isinstance(schema, dict):
        return schema
    for name, form in named.items():
        if schema == form:
            return {"$ref": _reference(name)}
    portable = {name: _portable(part, named) for name, part in schema.items()}
    if isinstance(portable.get("pattern"), str):
        portable["pattern"] = readable_pattern(portable["pattern"])
    if isinstance(portable.get("discriminator"), dict):
        portable["discriminator"] = portable["discriminator"]["propertyName"]
    return portable


def _reference(name: str) -> str:
    return _REFERENCE.format(name=name)


def _first_sentence(form: type) -> str:
    return (form.__doc__ or "").strip().split("\n\n", maxsplit=1)[0].replace("\n", " ")
