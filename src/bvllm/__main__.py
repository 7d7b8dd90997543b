"""Start the command line: `bvllm`, or `python -m bvllm` where no console script was installed."""

import os
import sys


def main() -> int:
    """Run the command line; an interrupt before it is even imported is one line, too."""
    try:
        from bvllm.cli import main as run
        from bvllm.cli.console import isolate_commands
    except KeyboardInterrupt:
        sys.stderr.write("error: interrupted\n")
        sys.stderr.flush()
        os._exit(130)  # half-imported libraries may not survive their own clean-up
    isolate_commands()
    return run()


if __name__ == "__main__":
    sys.exit(main())
