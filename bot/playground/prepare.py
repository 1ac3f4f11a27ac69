"""Import the demo's data (``python -m bot.playground.prepare``).

This is a separate process, so the page's process never loads the lake's code.
"""

import sys
import time

from retention.db import Database
from retention.errors import Refused
from retention.settings import Settings
from retention.templating import bar


class ProgressLine:
    """Progress in one terminal line.

    Without a terminal, it prints one line per step.
    """

    def __init__(self) -> None:
        self._last, self._started = "", time.monotonic()

    def __call__(self, done: int, total: int, what: str) -> None:
        if sys.stdout.isatty():
            print(f"\r\033[K  {bar(done, total)}  {what}", end="", flush=True)
        elif what != self._last:
            print(f"  {what} ({time.monotonic() - self._started:.0f} s)", flush=True)
        self._last = what


def main() -> None:
    """Prepare the home of the environment."""
    from retention.demo import prepare

    settings = Settings()
    try:
        prepare(settings, Database.of(settings), ProgressLine())
    except Refused as refusal:
        sys.exit(f"\n{refusal}")
    print(flush=True)


if __name__ == "__main__":
    main()
