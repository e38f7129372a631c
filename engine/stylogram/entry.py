"""What the `stylogram` command calls: nothing heavy is imported before Ctrl-C is heeded."""

import sys


def main() -> int:
    """Run the command line; returns the exit status."""
    try:
        from .cli import main as run

        return run()
    except KeyboardInterrupt:
        print("interrupted: nothing was made yet", file=sys.stderr)
        return 130
