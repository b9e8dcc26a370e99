"""A diffusion signed with a key that is not the source's, under the source's key id."""

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bus.envelope import pack
from bus.host import Injection
from bus.identifiers import SECRETARIAT
from bus.messages.alerts import AlertClaims, Colour, Diffusion
from bus.messages.header import Version
from bus.statements import Draft, Signer, sign
from simulation.abuses.deeds import AbuseRequest, AbuseTools, Deed
from simulation.scenario import Defect


def deeds(request: AbuseRequest, tools: AbuseTools) -> list[Deed]:
    """Publish a well-formed diffusion whose signature was made with a key of the forger's own."""
    addressees = (*tools.expand(request.to, request.source), SECRETARIAT)
    forger = Signer(
        request.source,
        tools.key_ids[request.source],
        Ed25519PrivateKey.from_private_bytes(tools.identifiers.octets("forger", request.label)),
    )
    draft = Draft(
        Diffusion,
        addressees,
        AlertClaims(Colour.RED, 1),
        subject=f"forged:{request.label}",
        record=Version(request.source, tools.identifiers.record_id(request.label), None),
        body=tools.case_file(request, Defect.NONE),
    )
    forged = sign(draft, forger, tools.identifiers, 0, request.at)
    return [
        Deed(
            injection=Injection(
                "diffusion", addressees, pack(forged.envelope), forged.message_id, forged.digest
            )
        )
    ]
