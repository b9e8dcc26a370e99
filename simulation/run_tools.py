"""What abuses are handed in a run."""

from bus.identifiers import AUTHORITY, SECRETARIAT, IdentifierSource
from bus.messages.case_file import CaseFile
from bus.registry import Registry
from ncb_nodes.orders import expanded
from simulation.abuses.deeds import AbuseRequest, AbuseTools
from simulation.networks.network import Network
from simulation.persons import CaseFiles
from simulation.plan import Plan
from simulation.scenario import Defect, Scenario


def abuse_tools(scenario: Scenario, plan: Plan, seed: str, network: Network) -> AbuseTools:
    """Return case files, key ids and identifiers for the abuses of a run."""
    identifiers = IdentifierSource(seed, "abuse")
    files = CaseFiles(IdentifierSource(seed, "scenario"), plan.canaries)
    registry = Registry({}, {}).with_membership(1, scenario.members, scenario.zones, sealed=False)

    def case_file(request: AbuseRequest, defect: Defect) -> CaseFile:
        earlier = plan.truths.get(request.of)
        subject = earlier.subject if earlier else request.label
        person = files.person(subject, request.source)
        return files.case_file(request.label, 1, person, defect, request.at)

    def expand(to: tuple[str, ...], source: str) -> tuple[str, ...]:
        return expanded(to, registry, source)

    parties = (*network.members, SECRETARIAT, AUTHORITY)
    return AbuseTools(
        identifiers, {party: network.key_id(party) for party in parties}, case_file, expand
    )
