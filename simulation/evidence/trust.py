"""Who may have said what, judged by the run's own certificates and never by a node's registry."""

from collections.abc import Mapping

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from bus.envelope import pre_authentication_encoding
from bus.instants import instant_from_text
from bus.messages.catalogue import RecordRule
from bus.pki.certificates import SigningCertificate, verify_leaf
from simulation.evidence.rows import SignedStatement

_OF_THE_SOURCE = (RecordRule.OPENS, RecordRule.OWN_VERSION)


class Trustees:
    """The keys that count in a run. Raises `CertificateRefused` for a leaf of another root."""

    def __init__(self, root_der: bytes, certificates: Mapping[str, bytes]) -> None:
        leaves = [verify_leaf(der, root_der) for der in certificates.values()]
        self._leaves = {leaf.key_id: leaf for leaf in leaves}
        self._keys = {
            leaf.key_id: Ed25519PublicKey.from_public_bytes(leaf.public_key_raw) for leaf in leaves
        }
        self._faults: dict[tuple[bytes, bytes, str], str | None] = {}

    def fault_of(self, statement: SignedStatement) -> str | None:
        """Return why a statement is not its source's own at its time, or None if it is."""
        name = statement.digest, statement.signature, statement.key_id
        if name not in self._faults:
            self._faults[name] = self._fault(statement)
        return self._faults[name]

    def _fault(self, statement: SignedStatement) -> str | None:
        header, kind = statement.header, statement.kind
        leaf = self._leaves.get(statement.key_id)
        if leaf is None:
            return "its key belongs to nobody"
        if leaf.party != header.source:
            return "its key belongs to another party"
        if leaf.role not in kind.signers:
            return "its signer may not say this"
        if not _counts(leaf, header.issued_at):
            return "its key did not count when it was issued"
        foreign = header.record is not None and header.record.source != header.source
        if foreign and kind.record in _OF_THE_SOURCE:
            return "the record belongs to another source"
        return None if self._is_signed(statement) else "its signature does not verify"

    def _is_signed(self, statement: SignedStatement) -> bool:
        signed = pre_authentication_encoding(statement.kind.payload_type, statement.payload)
        try:
            self._keys[statement.key_id].verify(statement.signature, signed)
        except InvalidSignature:
            return False
        return True


def _counts(leaf: SigningCertificate, issued_at: str) -> bool:
    try:
        issued = instant_from_text(issued_at)
    except ValueError:
        return False
    return leaf.not_before <= issued <= leaf.not_after
