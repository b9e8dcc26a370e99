"""``python -m secretariat --settings FILE``: the General Secretariat."""

import sys

from secretariat.process import main

if __name__ == "__main__":
    sys.exit(main())
