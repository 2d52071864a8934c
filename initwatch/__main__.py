"""``python -m initwatch``."""

import sys

from initwatch.cli import main

if __name__ == "__main__":
    sys.exit(main())
