"""A lake, and short ways to import a file into it and to propose a map."""

from pathlib import Path

import pandas as pd
import pytest

from retention.lake import Lake
from retention.lake.importing.import_files import import_files
from retention.lake.suggesting.suggest import propose


@pytest.fixture
def lake(settings):
    return Lake.open(settings)


@pytest.fixture
def write_file(tmp_path):
    """Return a function that writes text, bytes or a frame to a file and returns its path."""

    def do(content, name="rows.csv"):
        path = tmp_path / name
        if isinstance(content, pd.DataFrame):
            write = content.to_parquet if path.suffix == ".parquet" else content.to_csv
            write(path, index=False)
        else:
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return do


@pytest.fixture
def import_file(lake, settings, write_file):
    """Return a function that writes a file, and a map if it gets one, and imports the file."""

    def do(content, map_text=None, table="events", *, name="rows.csv", own=None, **how):
        database = how.pop("database", None)
        if map_text is not None:
            how["map_path"] = Path(write_file(map_text, "map.toml"))
        reader = Lake.open(own) if own else lake
        files = [write_file(content, name)]
        return import_files(reader, database, own or settings, table, files, **how)

    return do


@pytest.fixture
def import_proposed(lake, import_file, write_file):
    """Return a function that imports a file by the map proposed for it; it returns both."""

    def do(content, table="events", *, name="rows.csv"):
        proposal = propose(lake, table, write_file(content, name))
        return proposal, import_file(content, proposal.text, table, name=name)

    return do
