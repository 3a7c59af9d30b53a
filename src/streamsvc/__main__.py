"""`python -m streamsvc` is the `streamsvc` command."""

import sys

from streamsvc.cli import main

if __name__ == "__main__":
    sys.exit(main())
