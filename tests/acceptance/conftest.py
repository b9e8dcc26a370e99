"""What every acceptance test may ask for beside the fixtures of all tests."""

import pytest

from bus.pki.keystore import PkiFolder
from tests.acceptance.broker_support import new_pki


@pytest.fixture(scope="session")
def broker_pki(tmp_path_factory: pytest.TempPathFactory) -> PkiFolder:
    """Certificates for the private broker's tests; no test changes them."""
    return new_pki(tmp_path_factory.mktemp("pki") / "pki")
