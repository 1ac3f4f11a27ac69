"""Exports that are known by name: a map file each, in the language of everybody's maps."""

from pathlib import Path

from retention.errors import BadInput
from retention.lake.mapping import Mapping, read_map
from retention.lake.schema import Table

FOLDER = Path(__file__).parent


def names() -> tuple[str, ...]:
    """The known exports."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.toml")))


def read(name: str, table: Table, timezone: str) -> Mapping:
    """The map of a known export for a table; times that name no zone are of ``timezone``.

    Raises
    ------
    BadInput
        Where there is no such export, or it says nothing for the table.
    """
    if name not in names():
        raise BadInput(f"There is no format {name!r}; use one of {', '.join(names())}.")
    return read_map(FOLDER / f"{name}.toml", table, timezone)
