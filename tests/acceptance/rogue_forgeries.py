"""What the rogue tries, and the refusal that the protocol's page promises for it.

Like the client it knows nothing of ours: the codes are those of the page's table.
"""

from collections.abc import Callable
from hashlib import sha256
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec import Struct

from tests.acceptance.rogue_client import Fields, Rogue, Signed, case_file, type_string
from tests.acceptance.rogue_msgpack import Octets, Pairs, packed

ENVELOPE_OCTETS_MAX: Final = 262_144
LEVELS_MAX: Final = 12


class Gang(Struct, frozen=True):
    """The rogue itself, and keys that it has got hold of or that no longer count."""

    me: Rogue
    other: Rogue
    """Another member, whose key files the rogue has as well."""
    expired: Rogue
    """A member whose announced certificate ended before the story began."""
    revoked: Rogue
    """A member whose key the authority has revoked."""
    victim: str
    """The bureau to which everything is sent."""


class Attempt(Struct, frozen=True):
    """One publication: what, by which user, and under which routing key."""

    octets: bytes
    user: str
    message_type: str = "diffusion"
    key_user: str = ""
    """The user that the routing key names, where it is not the publisher."""


Forgery = Callable[[Gang], Attempt]


def _by(rogue: Rogue, signed: Signed, message_type: str = "diffusion") -> Attempt:
    return Attempt(signed.octets, rogue.code, message_type)


def _mine(change: Callable[[Gang], Signed], message_type: str = "diffusion") -> Forgery:
    return lambda gang: _by(gang.me, change(gang), message_type)


def _header(**fields: Any) -> Forgery:  # noqa: ANN401  (any value of the wire)
    """Return a diffusion with other header fields, properly signed."""
    return _mine(lambda gang: gang.me.diffusion(gang.victim, **fields))


def _raw(change: Callable[[bytes], bytes]) -> Forgery:
    """Return a diffusion whose octets are changed after signing."""
    return lambda gang: Attempt(change(gang.me.diffusion(gang.victim).octets), gang.me.code)


def _bad_signature(gang: Gang) -> Attempt:
    signed = gang.me.diffusion(gang.victim)
    [signature] = signed.fields["signatures"]
    turned = bytes([signature["sig"][0] ^ 1]) + signature["sig"][1:]
    return _by(gang.me, signed.but(signatures=[{**signature, "sig": turned}]))


def _second_signature(gang: Gang) -> Attempt:
    header = gang.me.diffusion_header(gang.victim)
    mine, others = (each.sign(header, case_file("CANARY-x")) for each in (gang.me, gang.other))
    both = mine.fields["signatures"] + others.fields["signatures"]
    return _by(gang.me, mine.but(signatures=both))


def _unknown_key(gang: Gang) -> Attempt:
    stranger = Rogue(gang.me.code, Ed25519PrivateKey.from_private_bytes(bytes(32)), gang.me.now)
    return _by(gang.me, stranger.diffusion(gang.victim))


def _anothers_key(gang: Gang) -> Attempt:
    impostor = Rogue(gang.me.code, gang.other.key, gang.me.now)
    return _by(gang.me, impostor.diffusion(gang.victim))


def _anothers_key_under_my_id(gang: Gang) -> Attempt:
    signed = Rogue(gang.me.code, gang.other.key, gang.me.now).diffusion(gang.victim)
    [signature] = signed.fields["signatures"]
    return _by(gang.me, signed.but(signatures=[{**signature, "keyid": gang.me.key_id}]))


def _anothers_name(gang: Gang) -> Attempt:
    return Attempt(gang.other.diffusion(gang.victim).octets, gang.me.code)


def _wrong_type_string(gang: Gang) -> Signed:
    header = gang.me.diffusion_header(gang.victim)
    return gang.me.sign(header, case_file("CANARY-x"), payload_type=type_string("amendment"))


def _unknown_type(gang: Gang) -> Attempt:
    header = gang.me.header("rumour", [gang.victim], {})
    return _by(gang.me, gang.me.sign(header, {"text": "psst"}), "rumour")


def _too_large(gang: Gang) -> Signed:
    signed = gang.me.diffusion(gang.victim)
    return signed.but(
        attachment={**signed.fields["attachment"], "body": bytes(ENVELOPE_OCTETS_MAX)}
    )


def _too_deep(gang: Gang) -> Signed:
    value: Any = None
    for _ in range(LEVELS_MAX):
        value = [value]
    return gang.me.diffusion(gang.victim).but(attachment=value)


def _twice(gang: Gang) -> Signed:
    header = gang.me.diffusion_header(gang.victim)
    doubled = packed(Pairs([*header.items(), ("sequence", 1)]))
    return gang.me.sign_payload(type_string("diffusion"), doubled)


def _left_out(gang: Gang) -> Signed:
    header = gang.me.diffusion_header(gang.victim)
    del header["traceparent"]
    return gang.me.sign(header, case_file("CANARY-x"))


def _long_spelling(gang: Gang) -> Signed:
    return gang.me.diffusion(gang.victim, sequence=Octets(b"\xcd\x00\x01"))


def _nonce(size: int) -> Forgery:
    return _mine(
        lambda gang: gang.me.sign(
            gang.me.diffusion_header(gang.victim), case_file("CANARY-x"), nonce=bytes(size)
        )
    )


def _attached(change: Callable[[Fields], Fields | None]) -> Forgery:
    def forge(gang: Gang) -> Signed:
        signed = gang.me.diffusion(gang.victim)
        return signed.but(attachment=change(signed.fields["attachment"]))

    return _mine(forge)


def _record_of_another(gang: Gang) -> Signed:
    record = {"source": gang.other.code, "record_id": gang.me.record_id(), "statement_digest": None}
    return gang.me.diffusion(gang.victim, record=record)


def _withdrawal_of_anothers_record(gang: Gang) -> Signed:
    known = gang.other.diffusion(gang.victim)
    record = {"source": gang.other.code, "record_id": gang.other.record_id(),
              "statement_digest": known.digest}  # fmt: skip
    header = gang.me.header("withdrawal", [gang.victim, "IPSG"], {"reason": "error"}, record=record)
    return gang.me.sign(header)


def _decision(gang: Gang) -> Signed:
    mine = gang.me.diffusion(gang.victim)
    record = {"source": gang.me.code, "record_id": gang.me.record_id(),
              "statement_digest": mine.digest}  # fmt: skip
    claims = {"number": 1, "outcome": "validated", "ground": None}
    return gang.me.sign(gang.me.header("review_decision", [gang.victim], claims, record=record))


def _retraction(gang: Gang) -> Signed:
    record = {"source": gang.other.code, "record_id": gang.other.record_id(),
              "statement_digest": sha256(b"any").digest()}  # fmt: skip
    claims = {"number": 1, "action": "delete", "deadline": gang.me.time(days=3)}
    return gang.me.sign(gang.me.header("retraction", [gang.victim], claims, record=record))


def _membership(gang: Gang) -> Signed:
    claims = {"number": 9, "members": [gang.me.code], "zones": {}, "sealed": False}
    return gang.me.sign(gang.me.header("membership", [gang.victim], claims))


def _another_types_key(gang: Gang) -> Attempt:
    return Attempt(gang.me.diffusion(gang.victim).octets, gang.me.code, "notice_request")


FORGERIES: Final[dict[str, tuple[str, Forgery]]] = {
    "a signature with one bit turned": ("signature_invalid", _bad_signature),
    "another's signature under my key id": ("signature_invalid", _anothers_key_under_my_id),
    "a key that nobody announced": ("signing_key_unknown", _unknown_key),
    "another member's key": ("signing_key_foreign", _anothers_key),
    "a key whose certificate has ended": (
        "signing_key_expired",
        lambda gang: _by(gang.expired, gang.expired.diffusion(gang.victim)),
    ),
    "a key that was revoked": (
        "signing_key_revoked",
        lambda gang: _by(gang.revoked, gang.revoked.diffusion(gang.victim)),
    ),
    "a statement from before my key": (
        "signing_key_not_yet_valid",
        _header(issued_at="1999-12-31T23:59:59.999Z"),
    ),
    "a second signature": ("signature_count_wrong", _second_signature),
    "no signature": (
        "signature_count_wrong",
        _mine(lambda gang: gang.me.diffusion(gang.victim).but(signatures=[])),
    ),
    "another member's statement": ("user_mismatch", _anothers_name),
    "the type string of another statement": ("payload_type_mismatch", _mine(_wrong_type_string)),
    "a type that does not exist": ("message_type_unknown", _unknown_type),
    "a routing key of another type": ("routing_key_mismatch", _another_types_key),
    "an envelope cut off": ("envelope_malformed", _raw(lambda octets: octets[:-1])),
    "an octet too many": ("envelope_malformed", _raw(lambda octets: octets + b"\xc0")),
    "nothing at all": ("envelope_malformed", _raw(lambda _: b"")),
    "an envelope too large": ("envelope_too_large", _mine(_too_large)),
    "lists nested too deep": ("nesting_too_deep", _mine(_too_deep)),
    "a header with a key twice": ("field_duplicate", _mine(_twice)),
    "a header with a key more": ("field_unknown", _header(priority=1)),
    "claims with a key more": (
        "field_unknown",
        _header(claims={"colour": "red", "membership_number": 1, "note": "x"}),
    ),
    "a header with a key less": ("field_missing", _mine(_left_out)),
    "a number in three octets": ("encoding_not_shortest", _mine(_long_spelling)),
    "free text where a code belongs": ("field_malformed", _header(in_reply_to="Alex Muster")),
    "a day that does not exist": ("field_malformed", _header(issued_at="2024-02-30T00:00:00.000Z")),
    "addressees out of order": (
        "addressees_malformed",
        _mine(
            lambda gang: gang.me.diffusion(
                gang.victim, addressees=sorted([gang.victim, "IPSG"], reverse=True)
            )
        ),
    ),
    "no copy for the secretariat": (
        "secretariat_not_addressed",
        _mine(lambda gang: gang.me.diffusion(gang.victim, addressees=[gang.victim])),
    ),
    "a statement to somebody else": (
        "not_addressed",
        _mine(lambda gang: gang.me.diffusion(gang.other.code)),
    ),
    "a diffusion without a record": ("record_rule_broken", _header(record=None)),
    "a record of another source": ("record_of_another_source", _mine(_record_of_another)),
    "a withdrawal of another's record": (
        "record_of_another_source",
        _mine(_withdrawal_of_anothers_record, "withdrawal"),
    ),
    "a nonce of 33 octets": ("nonce_length_wrong", _nonce(33)),
    "an empty nonce": ("nonce_length_wrong", _nonce(0)),
    "another body": (
        "body_commitment_mismatch",
        _attached(lambda plain: {**plain, "body": packed(case_file("CANARY-y"))}),
    ),
    "no body": ("body_missing", _attached(lambda _: None)),
    "a body of another form": (
        "body_malformed",
        _mine(
            lambda gang: gang.me.sign(gang.me.diffusion_header(gang.victim), {"text": "CANARY-x"})
        ),
    ),
    "a body that the header does not know of": (
        "body_unexpected",
        _mine(
            lambda gang: gang.me.sign(
                gang.me.header("retraction_set_request", ["IPSG", gang.victim], {"have_number": 0})
            ).but(attachment={"scheme": "plain", "nonce": bytes(32), "body": b"\xc0"}),
            "retraction_set_request",
        ),
    ),
    "a body sealed to nobody": (
        "recipient_key_gone",
        _attached(
            lambda _: {
                "scheme": "hpke-v1",
                "recipient_key": bytes(32),
                "enc": bytes(32),
                "ciphertext": b"x",
            }
        ),
    ),
    "a statement from an hour later": (
        "issued_in_future",
        _mine(lambda gang: gang.me.diffusion(gang.victim, issued_at=gang.me.time(hours=1))),
    ),
    "a statement that has expired": (
        "expired",
        _mine(
            lambda gang: gang.me.diffusion(
                gang.victim, issued_at=gang.me.time(hours=-2), expires_at=gang.me.time(hours=-1)
            )
        ),
    ),
    "a decision of my own": ("role_forbidden", _mine(_decision, "review_decision")),
    "a retraction of my own": ("role_forbidden", _mine(_retraction, "retraction")),
    "a membership of my own": ("role_forbidden", _mine(_membership, "membership")),
}
"""By what is tried, the promised refusal and the attempt."""
