"""Documents that are generated from the code, so that they cannot say anything else than it does.

``python -m console.documents`` writes them, and with ``--check`` tells whether they are up to date.
"""

from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).resolve().parents[2] / "docs"
