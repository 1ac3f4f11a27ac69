"""A lake, and a short way to import a file into it."""

import pytest

from retention.lake import Lake
from retention.lake.importing.import_files import import_files


@pytest.fixture
def lake(settings):
    return Lake.open(settings)


@pytest.fixture
def import_file(lake, settings, tmp_path):
    """Return a function that writes a file, and a map if it gets one, and imports the file."""

    def do(content, map_text=None, table="events", *, name="rows.csv", database=None, **how):
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        if map_text is not None:
            how["map_path"] = tmp_path / "map.toml"
            how["map_path"].write_text(map_text, encoding="utf-8")
        return import_files(lake, database, settings, table, [str(tmp_path / name)], **how)

    return do
