"""A client of another's making: it knows the protocol's page and the definitions file alone.

Nothing here is imported from our packages. It signs with a member's own key file, logs in with a
member's own TLS certificate, and says whatever it likes.
"""

import json
import re
import ssl
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import Any, Final, Self
from uuid import UUID

import pika
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.x509 import load_pem_x509_certificate
from msgspec import Struct

from tests.acceptance.rogue_msgpack import packed, unpacked

Fields = dict[str, Any]

BODY_LABEL: Final = b"i247.body.v1\x00"
RETURN_HEADERS: Final = {"i247-return": "yes"}
TRACE: Final = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def type_string(message_type: str) -> str:
    """Return the type string of a statement type."""
    return f"application/vnd.i247.{message_type}.v1+msgpack"


def pae(payload_type: str, payload: bytes) -> bytes:
    """Return what is signed."""
    name = payload_type.encode()
    parts = (b"DSSEv1", str(len(name)).encode(), name, str(len(payload)).encode(), payload)
    return b" ".join(parts)


def spki_hash(key: Ed25519PublicKey) -> str:
    """Return a key's id."""
    der = key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return sha256(der).hexdigest()


def case_file(canary: str) -> Fields:
    """Return the body of a diffusion on an invented person."""
    return {
        "file_reference": f"FILE/{canary}",
        "subject": {
            "family_name": "Muster",
            "forename": "Alex",
            "date_of_birth": "1980-05-17",
            "sex": "X",
            "nationalities": ["XA"],
            "identity_number": canary,
        },
        "subject_status": "wanted_for_prosecution",
        "offence": {
            "code": "armed_robbery",
            "facts": "Robbed a bank.",
            "place": "Port",
            "committed_on": "2024-01-10",
        },
        "warrant": {
            "reference": "W-1",
            "court": "District Court of Port",
            "issued_on": "2024-01-20",
            "valid_until": None,
        },
        "requested_action": "Locate and arrest with a view to extradition.",
    }


class Signed(Struct, frozen=True):
    """An envelope as a map, before it is packed."""

    fields: Fields

    @property
    def digest(self) -> bytes:
        """The statement digest."""
        return sha256(pae(self.fields["payload_type"], self.fields["payload"])).digest()

    @property
    def octets(self) -> bytes:
        """What travels."""
        return packed(self.fields)

    def but(self, **changes: Any) -> "Signed":  # noqa: ANN401  (any value of the wire)
        """Return the envelope with other fields, signed no anew."""
        return Signed({**self.fields, **changes})


class Rogue:
    """One member's code and key, and a clock that it sets itself."""

    def __init__(self, code: str, key: Ed25519PrivateKey, now: datetime) -> None:
        self.code = code
        self.key = key
        self.now = now
        self._numbers = count(1)

    @classmethod
    def from_files(cls, folder: Path, code: str, now: datetime) -> Self:
        """Load a member's own signing key."""
        pem = (folder / code / "signing.key").read_bytes()
        key = serialization.load_pem_private_key(pem, None)
        if not isinstance(key, Ed25519PrivateKey):
            raise TypeError(key)
        return cls(code, key, now)

    @property
    def key_id(self) -> str:
        """The id of the key."""
        return spki_hash(self.key.public_key())

    def time(self, **later: float) -> str:
        """Return a time of its clock as text."""
        moment = (self.now + timedelta(**later)).astimezone(UTC)
        return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"

    def message_id(self) -> str:
        """Return a fresh UUIDv7."""
        milliseconds = int(self.now.timestamp() * 1000)
        noise = sha256(f"{self.code}{next(self._numbers)}".encode()).digest()[:10]
        raw = bytearray(milliseconds.to_bytes(6, "big") + noise)
        raw[6] = 0x70 | raw[6] & 0x0F
        raw[8] = 0x80 | raw[8] & 0x3F
        return str(UUID(bytes=bytes(raw)))

    def record_id(self) -> str:
        """Return a fresh record id."""
        noise = sha256(f"record{self.code}{next(self._numbers)}".encode()).digest()[:16]
        return str(UUID(bytes=noise, version=4))

    def header(self, message_type: str, to: list[str], claims: Fields, **fields: Any) -> Fields:  # noqa: ANN401
        """Return the header of a statement, with any of its fields given otherwise."""
        return {
            "message_type": message_type,
            "message_id": self.message_id(),
            "source": self.code,
            "addressees": sorted(to),
            "sequence": 1,
            "issued_at": self.time(),
            "expires_at": None,
            "record": None,
            "in_reply_to": None,
            "traceparent": TRACE,
            "body_commitment": None,
            "claims": claims,
        } | fields

    def diffusion_header(self, to: str, **fields: Any) -> Fields:  # noqa: ANN401
        """Return the header of a diffusion that opens a record."""
        record = {"source": self.code, "record_id": self.record_id(), "statement_digest": None}
        claims = {"colour": "red", "membership_number": 1}
        return self.header("diffusion", [to, "IPSG"], claims, record=record) | fields

    def sign(
        self,
        header: Fields,
        body: Any = None,  # noqa: ANN401  (any value of the wire)
        *,
        nonce: bytes | None = None,
        payload_type: str | None = None,
    ) -> Signed:
        """Commit to a body, if there is one, and sign."""
        attachment = None
        if body is not None:
            octets = packed(body)
            nonce = (
                sha256(octets + header["message_id"].encode()).digest() if nonce is None else nonce
            )
            attachment = {"scheme": "plain", "nonce": nonce, "body": octets}
            header = {**header, "body_commitment": sha256(BODY_LABEL + nonce + octets).digest()}
        name = payload_type or type_string(header["message_type"])
        return self.sign_payload(name, packed(header), attachment)

    def sign_payload(
        self, payload_type: str, payload: bytes, attachment: Fields | None = None
    ) -> Signed:
        """Sign any octets as a payload."""
        return Signed(
            {
                "payload_type": payload_type,
                "payload": payload,
                "signatures": [
                    {"keyid": self.key_id, "sig": self.key.sign(pae(payload_type, payload))}
                ],
                "attachment": attachment,
            }
        )

    def diffusion(self, to: str, canary: str = "CANARY-rogue", **fields: Any) -> Signed:  # noqa: ANN401
        """Return a diffusion with which nothing is wrong, unless fields are given otherwise."""
        return self.sign(self.diffusion_header(to, **fields), case_file(canary))


class Received(Struct, frozen=True):
    """A statement that the rogue has received and verified by its own means."""

    header: Fields
    digest: bytes
    routing_key: str
    user: str | None


def verified(octets: bytes, certificate: Path, routing_key: str, user: str | None) -> Received:
    """Verify a delivery under its source's certificate; raise `InvalidSignature`."""
    envelope = unpacked(octets)
    key = load_pem_x509_certificate(certificate.read_bytes()).public_key()
    if not isinstance(key, Ed25519PublicKey):
        raise TypeError(key)
    [signature] = envelope["signatures"]
    signed = pae(envelope["payload_type"], envelope["payload"])
    key.verify(signature["sig"], signed)
    if signature["keyid"] != spki_hash(key):
        message = "another key id"
        raise ValueError(message)
    return Received(unpacked(envelope["payload"]), sha256(signed).digest(), routing_key, user)


class Definitions:
    """What the definitions file says of the bus."""

    def __init__(self, path: Path) -> None:
        self._document: Fields = json.loads(path.read_text())

    @property
    def virtual_host(self) -> str:
        """The one virtual host."""
        return str(self._document["vhosts"][0]["name"])

    def way_to(self, recipient: str, kind: str) -> tuple[str, str]:
        """Return exchange and queue by which a recipient is reached."""
        [binding] = [
            each
            for each in self._document["bindings"]
            if each["routing_key"] == f"*.*.{recipient}" and f".{kind}." in each["destination"]
        ]
        return str(binding["source"]), str(binding["destination"])


class Page:
    """What `docs/protocol.md` says in its tables."""

    def __init__(self, path: Path) -> None:
        self._text = path.read_text()

    def queue_kind(self, message_type: str) -> str:
        """Return the kind of queue that a statement type goes to, `data` for an unheard one."""
        row = re.search(rf"^\| \[`{message_type}`\].*$", self._text, re.MULTILINE)
        return row.group().split(" | ")[2] if row else "data"

    def refusals(self) -> set[str]:
        """Return the codes with which verification may refuse."""
        return set(re.findall(r"^\| [0-9]+ \| `([a-z_]+)` \|", self._text, re.MULTILINE))


class Door:
    """One user's connection to the broker, by its own certificate."""

    def __init__(self, folder: Path, user: str, port: int, definitions: Definitions) -> None:
        context = ssl.create_default_context(cafile=str(folder / "root.pem"))
        context.load_cert_chain(folder / user / "tls.pem", folder / user / "tls.key")
        self.user = user
        self._connection = pika.BlockingConnection(
            pika.ConnectionParameters(
                "localhost",
                port,
                definitions.virtual_host,
                credentials=pika.credentials.ExternalCredentials(),
                ssl_options=pika.SSLOptions(context, "localhost"),
            )
        )

    def publish(
        self,
        exchange: str,
        key: str,
        octets: bytes,
        **properties: Any,  # noqa: ANN401  (any property of AMQP)
    ) -> str:
        """Publish one copy and return what the broker says of it."""
        usual = {"user_id": self.user, "delivery_mode": 2, "headers": RETURN_HEADERS}
        channel = self._connection.channel()
        channel.confirm_delivery()
        try:
            channel.basic_publish(
                exchange, key, octets, pika.BasicProperties(**usual | properties), mandatory=True
            )
        except pika.exceptions.ChannelClosedByBroker as closed:
            return f"refused {closed.reply_code}"
        except pika.exceptions.UnroutableError:
            return "unroutable"
        except pika.exceptions.NackError:
            return "full"
        channel.close()
        return "confirmed"

    def receive(self, queue: str, seconds: float) -> tuple[str, str | None, bytes]:
        """Take one message from a queue and acknowledge it; raise `TimeoutError`."""
        channel = self._connection.channel()
        for method, properties, octets in channel.consume(queue, inactivity_timeout=seconds):
            if method is None:
                break
            channel.basic_ack(method.delivery_tag)
            channel.cancel()
            channel.close()
            return method.routing_key, properties.user_id, octets
        message = f"nothing arrived in {queue}"
        raise TimeoutError(message)

    def close(self) -> None:
        """End the connection."""
        self._connection.close()
