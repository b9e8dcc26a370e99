"""Writes `golden_envelope.json`: one envelope of the wire with everything that leads up to it.

Run as ``python -m tests.assets.make_golden_envelope`` after a deliberate change of the wire. It
calls nothing of ours: only SHA-256, Ed25519 and generic msgpack, so it says independently what the
octets have to be.
"""

import json
from base64 import b64encode
from hashlib import sha256
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

GOLDEN = Path(__file__).with_name("golden_envelope.json")
PAYLOAD_TYPE = "application/vnd.i247.diffusion.v1+msgpack"
BODY = {
    "file_reference": "FILE/CANARY-golden",
    "subject": {
        "family_name": "Muster",
        "forename": "Alex",
        "date_of_birth": "1980-05-17",
        "sex": "X",
        "nationalities": ["XA"],
        "identity_number": "CANARY-person",
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


def golden() -> dict[str, object]:
    """Return the asset: inputs, intermediate values and the octets that travel."""
    key = Ed25519PrivateKey.from_private_bytes(sha256(b"golden key").digest())
    spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    keyid = sha256(spki).hexdigest()
    nonce = sha256(b"golden nonce").digest()
    body = msgspec.msgpack.encode(BODY)
    commitment = sha256(b"i247.body.v1\x00" + nonce + body).digest()
    header = {
        "message_type": "diffusion",
        "message_id": "018df9c1-8a00-7abc-8def-0123456789ab",
        "source": "XA",
        "addressees": ["IPSG", "XB"],
        "sequence": 1,
        "issued_at": "2024-03-01T09:00:00.000Z",
        "expires_at": None,
        "record": {
            "source": "XA",
            "record_id": "0f8fad5b-d9cb-469f-a165-70867728950e",
            "statement_digest": None,
        },
        "in_reply_to": None,
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "body_commitment": commitment,
        "claims": {"colour": "red", "membership_number": 1},
    }
    payload = msgspec.msgpack.encode(header)
    pae = b" ".join(
        (b"DSSEv1", b"%d" % len(PAYLOAD_TYPE), PAYLOAD_TYPE.encode(), b"%d" % len(payload), payload)
    )
    signature = key.sign(pae)
    envelope = {
        "payload_type": PAYLOAD_TYPE,
        "payload": payload,
        "signatures": [{"keyid": keyid, "sig": signature}],
        "attachment": {"scheme": "plain", "nonce": nonce, "body": body},
    }
    return {
        "public_key": key.public_key().public_bytes_raw().hex(),
        "keyid": keyid,
        "nonce": nonce.hex(),
        "body": body.hex(),
        "body_commitment": commitment.hex(),
        "payload": payload.hex(),
        "pae": pae.hex(),
        "statement_digest": sha256(pae).hexdigest(),
        "signature": signature.hex(),
        "envelope": msgspec.msgpack.encode(envelope).hex(),
        "dsse": {
            "payloadType": PAYLOAD_TYPE,
            "payload": b64encode(payload).decode(),
            "signatures": [{"keyid": keyid, "sig": b64encode(signature).decode()}],
        },
    }


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(golden(), indent=2) + "\n")
