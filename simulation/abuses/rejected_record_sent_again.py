"""A person's rejected data, sent again under a new record."""

from ncb_nodes.orders import IssueDiffusion
from simulation.abuses.deeds import AbuseRequest, AbuseTools, Deed
from simulation.scenario import Defect


def deeds(request: AbuseRequest, tools: AbuseTools) -> list[Deed]:
    """Issue a new diffusion on the person of an alert that was rejected before."""
    case_file = tools.case_file(request, Defect.COOPERATION_CLOSED)
    return [Deed(order=IssueDiffusion(label=request.label, to=request.to, case_file=case_file))]
