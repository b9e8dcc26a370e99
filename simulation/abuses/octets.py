"""A file of raw octets, published as they are."""

from pathlib import Path

from bus.envelope import digest_of_delivery
from bus.errors import BadInput
from bus.host import Injection
from bus.identifiers import SECRETARIAT
from bus.quarantine import reduced_fields
from simulation.abuses.deeds import AbuseRequest, AbuseTools, Deed


def deeds(path: Path, request: AbuseRequest, tools: AbuseTools) -> list[Deed]:
    """Publish a file's octets to each recipient; raise `BadInput` for one that cannot be read.

    The routing key names the message type that the octets claim, or a diffusion where they are
    unreadable.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        message = f"{path} cannot be read: {error.strerror}"
        raise BadInput(message) from error
    fields = reduced_fields(content)
    recipients = (*tools.expand(request.to, request.source), SECRETARIAT)
    message_id = fields.get("message_id") or tools.identifiers.message_id(
        request.at, f"octets:{request.label}"
    )
    return [
        Deed(
            injection=Injection(
                fields.get("message_type") or "diffusion",
                recipients,
                content,
                message_id,
                digest_of_delivery(content),
            )
        )
    ]
