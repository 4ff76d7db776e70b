"""The program ``duckbook``: it hears Ctrl-C before the command line is imported, which takes a third of a second."""

from __future__ import annotations

import os
import signal


def main() -> None:
    """Run a command; stopped before it begins, say so in one word."""
    signal.signal(signal.SIGINT, _stop)
    from duckbook.cli import commands

    commands.main()


def _stop(*_signal) -> None:
    # At once: nothing has begun, and what is raised in an import may be lost or be shown as a fault of ours.
    os.write(2, b"Stopped.\n")
    os._exit(130)


if __name__ == "__main__":
    main()
