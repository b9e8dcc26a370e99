"""The catalogue of refusals: every reason for which a delivery is not taken up.

A node *refuses* an envelope; a reviewer finds data *non-compliant*; AMQP *rejects* a delivery. Only
the first of these three is meant here. A definite refusal stays one however often the same bytes
come; one that is not definite may turn out otherwise later (a key not announced yet, for example).
"""

from typing import Final

from msgspec import Struct

from bus.errors import I247Error


class Refusal(Struct, frozen=True):
    """One catalogued reason.

    `code` is what programs compare and results count; `name` is for a person's eye; `step` is the
    step of `bus.verification` that refuses, 0 where a handler does.
    """

    code: str
    name: str
    step: int
    definite: bool
    meaning: str


class EnvelopeRefused(I247Error):
    """A delivery was refused; `refusal` says why, `where` names the field and never its content."""

    def __init__(self, refusal: Refusal, where: str = "") -> None:
        self.refusal = refusal
        self.where = where
        super().__init__(f"{refusal.code}: {refusal.meaning}" + (f" ({where})" if where else ""))


def _refusal(code: str, step: int, meaning: str, *, definite: bool = True) -> Refusal:
    return Refusal(code, code.replace("_", " ").capitalize(), step, definite, meaning)


ENVELOPE_TOO_LARGE: Final = _refusal(
    "envelope_too_large", 1, "the delivery has more octets than an envelope may have"
)
ENVELOPE_MALFORMED: Final = _refusal(
    "envelope_malformed", 1, "the octets are not one complete msgpack value of the closed form"
)
NESTING_TOO_DEEP: Final = _refusal(
    "nesting_too_deep", 1, "maps and lists are nested deeper than any statement needs"
)
ENCODING_NOT_SHORTEST: Final = _refusal(
    "encoding_not_shortest", 1, "a value is not in its shortest msgpack encoding"
)
FIELD_DUPLICATE: Final = _refusal("field_duplicate", 1, "a map has the same key twice")
FIELD_UNKNOWN: Final = _refusal("field_unknown", 1, "a map has a key that its form does not name")
FIELD_MISSING: Final = _refusal("field_missing", 1, "a map lacks a key that its form names")
FIELD_MALFORMED: Final = _refusal(
    "field_malformed", 1, "a field's value is outside its closed form"
)
SIGNATURE_COUNT_WRONG: Final = _refusal(
    "signature_count_wrong", 2, "an envelope carries exactly one signature"
)
MESSAGE_TYPE_UNKNOWN: Final = _refusal(
    "message_type_unknown", 3, "no statement of this type and version is known"
)
PAYLOAD_TYPE_MISMATCH: Final = _refusal(
    "payload_type_mismatch", 3, "the signed type string and the header name different types"
)
ADDRESSEES_MALFORMED: Final = _refusal(
    "addressees_malformed", 4, "addressees are not a sorted list of different codes"
)
RECORD_RULE_BROKEN: Final = _refusal(
    "record_rule_broken", 4, "the record field is not of the form that this statement type needs"
)
RECORD_OF_ANOTHER_SOURCE: Final = _refusal(
    "record_of_another_source", 4, "only the source of a record opens, amends or withdraws it"
)
SECRETARIAT_NOT_ADDRESSED: Final = _refusal(
    "secretariat_not_addressed", 4, "this statement type must list IPSG among its addressees"
)
BODY_MISSING: Final = _refusal("body_missing", 5, "the statement needs a body and none came")
BODY_UNEXPECTED: Final = _refusal(
    "body_unexpected", 5, "a body came with a statement whose header commits to none"
)
NONCE_LENGTH_WRONG: Final = _refusal(
    "nonce_length_wrong", 5, "the nonce of a body is exactly 32 octets"
)
BODY_COMMITMENT_MISMATCH: Final = _refusal(
    "body_commitment_mismatch", 5, "the body is not the one that the signed header commits to"
)
BODY_MALFORMED: Final = _refusal(
    "body_malformed", 5, "the body is not of the form that this statement type needs"
)
ATTACHMENT_SCHEME_FORBIDDEN: Final = _refusal(
    "attachment_scheme_forbidden", 5, "the membership in force asks for another attachment scheme"
)
RECIPIENT_KEY_GONE: Final = _refusal(
    "recipient_key_gone",
    5,
    "the body is sealed to a key that this recipient does not hold or has destroyed",
    definite=False,
)
USER_MISSING: Final = _refusal("user_missing", 6, "the broker validated no user for the publisher")
USER_MISMATCH: Final = _refusal(
    "user_mismatch", 6, "the validated user is not the signed source of the statement"
)
ROUTING_KEY_MISMATCH: Final = _refusal(
    "routing_key_mismatch", 6, "routing key and signed header disagree on user, type or recipient"
)
NOT_ADDRESSED: Final = _refusal("not_addressed", 7, "this party is not among the signed addressees")
SIGNING_KEY_UNKNOWN: Final = _refusal(
    "signing_key_unknown", 8, "no announced key has this key id", definite=False
)
SIGNING_KEY_FOREIGN: Final = _refusal(
    "signing_key_foreign", 8, "the key belongs to another party than the signed source"
)
ROLE_FORBIDDEN: Final = _refusal("role_forbidden", 8, "the key's role may not make this statement")
SIGNING_KEY_REVOKED: Final = _refusal(
    "signing_key_revoked", 9, "the key was revoked; its statements count only inside a release"
)
SIGNING_KEY_NOT_YET_VALID: Final = _refusal(
    "signing_key_not_yet_valid", 9, "the statement was issued before the key became valid"
)
SIGNING_KEY_EXPIRED: Final = _refusal(
    "signing_key_expired", 9, "the statement was issued, or arrives, after the key expired"
)
SIGNATURE_INVALID: Final = _refusal(
    "signature_invalid", 10, "the signature does not verify under the announced key"
)
ISSUED_IN_FUTURE: Final = _refusal(
    "issued_in_future", 11, "issued later than this party's clock allows", definite=False
)
EXPIRED: Final = _refusal("expired", 11, "the statement expired before it arrived")
EQUIVOCATION: Final = _refusal(
    "equivocation", 12, "the source has already sent another statement under this message id"
)
STATEMENT_NOT_SUPPORTED: Final = _refusal(
    "statement_not_supported",
    0,
    "this party has no duty that the statement could concern",
    definite=False,
)
INNER_ENVELOPE_REFUSED: Final = _refusal(
    "inner_envelope_refused", 0, "the envelope carried inside does not verify or does not belong"
)
TOO_MUCH_WAITING: Final = _refusal(
    "too_much_waiting",
    0,
    "the source has ended too many records that have not come yet",
    definite=False,
)
MEMBERSHIP_STALE: Final = _refusal(
    "membership_stale", 0, "the number is not higher than the membership or announcement in force"
)
DEAD_LETTERED: Final = _refusal(
    "dead_lettered", 0, "it went back to its queue more often than the delivery limit allows"
)
UNROUTABLE: Final = _refusal(
    "unroutable", 0, "its publisher asked for no answer, and no queue is bound for its recipient"
)

CATALOGUE: Final[dict[str, Refusal]] = {
    value.code: value for value in list(vars().values()) if isinstance(value, Refusal)
}
"""Every refusal by its code, in the order of the verification steps."""
