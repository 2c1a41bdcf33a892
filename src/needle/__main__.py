"""`python -m needle` is the same as `needle`."""

import sys

from needle.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
