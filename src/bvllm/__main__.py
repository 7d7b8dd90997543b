"""`python -m bvllm`, where no console script was installed."""

import sys

from bvllm.cli import main

if __name__ == "__main__":
    sys.exit(main())
