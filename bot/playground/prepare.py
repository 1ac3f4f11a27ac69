"""Brings in the demo's data, in a process of its own: the page's process never loads what reads a lake."""

import sys
import time

from retention.db import Database
from retention.errors import Refused
from retention.settings import Settings
from retention.templating import bar


class Line:
    """Progress as a line of the terminal that is written over; once a step where there is no terminal."""

    def __init__(self) -> None:
        self._last, self._began = "", time.monotonic()

    def __call__(self, done: int, total: int, what: str) -> None:
        if sys.stdout.isatty():
            print(f"\r\033[K  {bar(done, total)}  {what}", end="", flush=True)
        elif what != self._last:
            print(f"  {what} ({time.monotonic() - self._began:.0f} s)", flush=True)
        self._last = what


def main() -> None:
    """Prepare the home that the environment names."""
    from retention.demo import prepare

    settings = Settings()
    try:
        prepare(settings, Database.of(settings), Line())
    except Refused as refusal:
        sys.exit(f"\n{refusal}")
    print(flush=True)


if __name__ == "__main__":
    main()
