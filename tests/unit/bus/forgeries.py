"""For every refusal of verification one delivery that breaks just that rule, and nothing else."""

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from bus.envelope import (
    ENVELOPE_BYTES_MAX,
    Attachment,
    Plain,
    Sealed,
    SignedEnvelope,
    body_commitment,
    pack,
)
from bus.instants import DAY, MINUTE, Instant, instant_to_text
from bus.messages.catalogue import KINDS
from bus.registry import Registry
from bus.verification import CLOCK_SKEW_MAX, Evidence, VerifiedMessage, Verifier
from tests.factories import (
    KEYS_BEGIN,
    KEYS_END,
    NOW,
    diffusion,
    header_fields,
    newcomer_registry,
    packed,
    registry,
    signed_anew,
    signer,
)

Fields = dict[str, Any]


class Attempt(Struct, frozen=True):
    """One delivery at one party at one instant, and what that party knows."""

    octets: bytes
    user: str | None = "XA"
    routing_key: str = "XA.diffusion.XB"
    party: str = "XB"
    registry: Registry = registry()
    now: Instant = NOW
    known: Mapping[tuple[str, str], bytes] = {}

    def verified(self) -> VerifiedMessage:
        """Verify; raise `EnvelopeRefused`."""
        verifier = Verifier(self.party, lambda source, name: self.known.get((source, name)))
        evidence = Evidence(self.user, self.routing_key)
        return verifier.verify(self.octets, evidence, self.registry, self.now)


HONEST: Final = diffusion()
OCTETS: Final = packed(HONEST)
BODY: Final = HONEST.envelope.attachment


def altered(change: Callable[[Fields], object], by: str = "XA") -> Attempt:
    """Return the honest diffusion with other header fields, signed by a member all the same."""
    fields = header_fields(HONEST)
    change(fields)
    return Attempt(pack(signed_anew(fields, by, BODY)))


def enveloped(**changes: object) -> Attempt:
    """Return the honest diffusion in another envelope."""
    return Attempt(pack(replace(HONEST.envelope, **changes)))


def attached(attachment: Attachment | None, *, committed: bool = False) -> Attempt:
    """Return the honest diffusion with another attachment, to which its header may commit."""
    if not committed or not isinstance(attachment, Plain):
        return enveloped(attachment=attachment)
    fields = header_fields(HONEST)
    fields["body_commitment"] = body_commitment(attachment.nonce, attachment.body)
    return Attempt(pack(signed_anew(fields, "XA", attachment)))


def mapped(change: Callable[[Fields], object]) -> Attempt:
    """Return the honest envelope as a map with other keys."""
    fields: Fields = msgspec.to_builtins(HONEST.envelope, builtin_types=(bytes,))
    change(fields)
    return Attempt(msgspec.msgpack.encode(fields))


def knowing(other: Registry, attempt: Attempt | None = None) -> Attempt:
    """Return an attempt at a party that knows other keys or another membership."""
    return replace(attempt or Attempt(OCTETS), registry=other)


def nested(levels: int) -> object:
    """Return a list in a list, so many levels deep."""
    value: object = None
    for _ in range(levels):
        value = [value]
    return value


def duplicate_key() -> Attempt:
    """Return the honest envelope with its first key a second time."""
    again = msgspec.msgpack.encode("payload_type") + msgspec.msgpack.encode("x")
    return Attempt(bytes([OCTETS[0] + 1]) + OCTETS[1:] + again)


def longer_spelling() -> Attempt:
    """Return the honest diffusion with its sequence number in two octets instead of one."""
    payload = HONEST.envelope.payload.replace(b"\xa8sequence\x01", b"\xa8sequence\xcc\x01")
    kind = KINDS["diffusion"].payload_type
    return Attempt(pack(signed_anew(payload, "XA", BODY, kind)))


def signed_by(party: str) -> SignedEnvelope:
    """Return the honest diffusion under another's signature, which says so."""
    return signed_anew(header_fields(HONEST), party, BODY)


def flipped_signature() -> SignedEnvelope:
    """Return the honest diffusion with one bit of its signature turned."""
    signature = HONEST.envelope.signatures[0]
    turned = bytes([signature.sig[0] ^ 1]) + signature.sig[1:]
    return replace(HONEST.envelope, signatures=[replace(signature, sig=turned)])


def decision_by_a_bureau() -> Attempt:
    """Return a decision on its own diffusion that a bureau signed with its own valid key."""
    fields = header_fields(HONEST)
    record = {**fields["record"], "statement_digest": HONEST.digest}
    claims = {"number": 1, "outcome": "validated", "ground": None}
    fields |= {"message_type": "review_decision", "record": record, "claims": claims}
    fields |= {"body_commitment": None, "addressees": ["XB"]}
    octets = pack(signed_anew(fields, "XA"))
    return Attempt(octets, routing_key="XA.review_decision.XB")


def sealed_registry() -> Registry:
    """Return a membership that wants every body sealed."""
    known = registry()
    return known.with_membership(2, known.members, known.zones, sealed=True)


def issued_at(instant: Instant) -> Callable[[Fields], None]:
    """Return a change of the time of issue."""
    return lambda fields: fields.update(issued_at=instant_to_text(instant))


NONCE: Final = bytes(32)
SEALED: Final = Sealed(recipient_key=NONCE, enc=NONCE, ciphertext=b"x")

FORGERIES: Final[dict[str, Callable[[], Attempt]]] = {
    "envelope_too_large": lambda: Attempt(bytes(ENVELOPE_BYTES_MAX + 1)),
    "envelope_malformed": lambda: Attempt(OCTETS[:-1]),
    "nesting_too_deep": lambda: mapped(lambda f: f.update(attachment=nested(12))),
    "encoding_not_shortest": longer_spelling,
    "field_duplicate": duplicate_key,
    "field_unknown": lambda: altered(lambda f: f.update(priority=1)),
    "field_missing": lambda: altered(lambda f: f.pop("sequence")),
    "field_malformed": lambda: altered(lambda f: f.update(source="xa")),
    "signature_count_wrong": lambda: enveloped(signatures=HONEST.envelope.signatures * 2),
    "message_type_unknown": lambda: enveloped(
        payload_type="application/vnd.i247.diffusion.v2+msgpack"
    ),
    "payload_type_mismatch": lambda: enveloped(payload_type=KINDS["amendment"].payload_type),
    "addressees_malformed": lambda: altered(lambda f: f.update(addressees=["XB", "IPSG"])),
    "record_rule_broken": lambda: altered(lambda f: f.update(record=None)),
    "record_of_another_source": lambda: altered(
        lambda f: f.update(record={**f["record"], "source": "XC"})
    ),
    "secretariat_not_addressed": lambda: altered(lambda f: f.update(addressees=["XB"])),
    "body_missing": lambda: attached(None),
    "body_unexpected": lambda: Attempt(
        pack(
            signed_anew(
                {
                    **header_fields(HONEST),
                    "message_type": "withdrawal",
                    "record": {
                        **header_fields(HONEST)["record"],
                        "statement_digest": HONEST.digest,
                    },
                    "claims": {"reason": "error"},
                    "body_commitment": None,
                },
                "XA",
                Plain(NONCE, b"\xc0"),
            )
        ),
        routing_key="XA.withdrawal.XB",
    ),
    "nonce_length_wrong": lambda: attached(
        Plain(NONCE + BODY.body[:1], BODY.body[1:]) if isinstance(BODY, Plain) else None,
        committed=True,
    ),
    "body_commitment_mismatch": lambda: attached(
        Plain(NONCE, BODY.body) if isinstance(BODY, Plain) else None
    ),
    "body_malformed": lambda: attached(Plain(NONCE, b"\x80"), committed=True),
    "attachment_scheme_forbidden": lambda: knowing(sealed_registry()),
    "recipient_key_gone": lambda: attached(SEALED),
    "user_missing": lambda: replace(Attempt(OCTETS), user=None),
    "user_mismatch": lambda: replace(Attempt(OCTETS), user="XC"),
    "routing_key_mismatch": lambda: replace(Attempt(OCTETS), routing_key="XA.message.XB"),
    "not_addressed": lambda: replace(Attempt(OCTETS), party="XC", routing_key="XA.diffusion.XC"),
    "signing_key_unknown": lambda: knowing(newcomer_registry()),
    "signing_key_foreign": lambda: Attempt(pack(signed_by("XC"))),
    "role_forbidden": decision_by_a_bureau,
    "signing_key_revoked": lambda: knowing(registry().with_revoked(signer("XA").key_id, 1)),
    "signing_key_not_yet_valid": lambda: altered(issued_at(KEYS_BEGIN - 1)),
    "signing_key_expired": lambda: replace(Attempt(OCTETS), now=KEYS_END + 1),
    "signature_invalid": lambda: Attempt(pack(flipped_signature())),
    "issued_in_future": lambda: altered(issued_at(NOW + CLOCK_SKEW_MAX + 1)),
    "expired": lambda: Attempt(
        packed(diffusion(now=NOW - DAY, expires_at=NOW - 6 * MINUTE)),
    ),
    "equivocation": lambda: replace(
        Attempt(OCTETS), known={("XA", HONEST.message_id): b"another digest"}
    ),
}
"""By refusal code, the one case that provokes it."""
