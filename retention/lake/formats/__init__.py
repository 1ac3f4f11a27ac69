"""Provide maps for known exports of shop systems."""

import tomllib
from collections.abc import Iterable
from pathlib import Path

from retention.errors import BadInput
from retention.lake.importing.mapping import Mapping, read_map
from retention.lake.schema import Table
from retention.text import gettext

FOLDER = Path(__file__).parent

# Sets of columns that identify an export; old and new exporters of a shop system differ.
SIGNATURES: dict[str, tuple[set[str], ...]] = {
    "shopify-orders": ({"name", "created at", "lineitem name", "lineitem quantity"},),
    "shopify-customers": (
        {"first name", "accepts email marketing"},
        {"first name", "accepts marketing"},
    ),
    "shopify-products": ({"handle", "variant price"}, {"url handle", "price"}),
    "woocommerce-orders": ({"billing_email", "line_items"}, {"order_number", "item_total"}),
    "woocommerce-customers": ({"user_login", "date_registered"}, {"username", "sign up"}),
    "woocommerce-products": ({"in stock?", "regular price"},),
}


def names() -> tuple[str, ...]:
    """Return the names of the known exports."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.toml")))


def read(name: str, table: Table, timezone: str) -> Mapping:
    """Read a known export's map for a table.

    `name`: export, such as "shopify-orders".
    `timezone`: time zone of times without one.
    """
    if name not in names():
        text = gettext("There is no format {name!r}; use one of {names}.")
        raise BadInput(text.format(name=name, names=", ".join(names())))
    return read_map(FOLDER / f"{name}.toml", table, timezone)


def mapping_for(
    table: Table, timezone: str, map_path: Path | None, format_name: str | None
) -> Mapping | None:
    """Return the map of an import: a file's, a known export's, or none.

    `timezone`: time zone of times without one, for a known export.
    """
    if format_name is None:
        return read_map(map_path, table) if map_path else None
    if map_path is not None:
        text = gettext(
            "--format {format_name} brings its own map; leave out --map, or copy and change it."
        )
        raise BadInput(text.format(format_name=format_name))
    return read(format_name, table, timezone)


def _fits(name: str, columns: set[str]) -> bool:
    return any(signature <= columns for signature in SIGNATURES[name])


def check(name: str, columns: Iterable[str], file: str) -> None:
    """Check that a file is the chosen export."""
    present = {column.casefold() for column in columns}
    other = next((known for known in SIGNATURES if _fits(known, present)), None)
    if other not in (None, name) and not _fits(name, present):
        text = gettext(
            "{file} is no export of {name}: by its columns it is one of {other}; use "
            "--format {other}."
        )
        raise BadInput(text.format(file=file, name=name, other=other))


def detect_format(columns: Iterable[str], table: str) -> tuple[str, str] | None:
    """Detect a known export from its columns."""
    present = {name.casefold() for name in columns}
    for name in SIGNATURES:
        if _fits(name, present):
            sections = tomllib.loads((FOLDER / f"{name}.toml").read_text(encoding="utf-8"))
            return name, table if table in sections else next(iter(sections))
    return None
