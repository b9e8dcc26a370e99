"""``python -m ncb_nodes --settings FILE``: one bureau."""

import sys

from ncb_nodes.process import main

if __name__ == "__main__":
    sys.exit(main())
