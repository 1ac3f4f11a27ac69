"""A host of the two-host test: imports each file whose name it reads, and prints the report."""

import json
import sys
from pathlib import Path

from retention.db import Database
from retention.errors import Refused
from retention.lake import Lake
from retention.lake.importing.import_files import import_files
from retention.settings import Settings


def main() -> None:
    settings = Settings(_env_file=None)
    database, lake = Database.of(settings), Lake.open(settings)
    print("ready", flush=True)
    for line in sys.stdin:
        file = Path(line.strip())
        try:
            report = import_files(lake, database, settings, "events", [str(file)]).as_dict()
            shown = {name: report[name] for name in ("rows_accepted", "rows_duplicate")}
        except Refused as refusal:
            shown = {"refused": str(refusal)}
        print(json.dumps(shown), flush=True)


if __name__ == "__main__":
    main()
