"""The program ``duckbook``. Ctrl-C is handled before the command line is imported, which takes a third of a second."""

from __future__ import annotations

import os
import signal


def main() -> None:
    """Run a command."""
    signal.signal(signal.SIGINT, _stop)
    from duckbook.cli import commands

    commands.main()


def _stop(*_signal: object) -> None:
    # Exit at once: an exception raised during an import may be lost, or shown as a traceback.
    os.write(2, b"Stopped.\n")
    os._exit(130)


if __name__ == "__main__":
    main()
