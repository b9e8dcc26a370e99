"""A diffusion against a recognised refugee, sent by the state of feared persecution."""

from ncb_nodes.orders import IssueDiffusion
from simulation.abuses.deeds import AbuseRequest, AbuseTools, Deed
from simulation.scenario import Defect


def deeds(request: AbuseRequest, tools: AbuseTools) -> list[Deed]:
    """Issue a diffusion that is lawful in form, on a person whom the policy protects."""
    case_file = tools.case_file(request, Defect.REFUGEE)
    return [Deed(order=IssueDiffusion(label=request.label, to=request.to, case_file=case_file))]
