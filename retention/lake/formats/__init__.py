"""Exports that are known by name: a map file each, in the language of everybody's maps."""

import tomllib
from collections.abc import Iterable
from pathlib import Path

from retention.errors import BadInput
from retention.lake.mapping import Mapping, read_map
from retention.lake.schema import Table
from retention.text import gettext

FOLDER = Path(__file__).parent

# Columns by which an export is known: those of one of the sets, for a shop's exporters have changed over the years.
SIGNS: dict[str, tuple[set[str], ...]] = {
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
        raise BadInput(
            gettext("There is no format {name!r}; use one of {names}.").format(
                name=name, names=", ".join(names())
            )
        )
    return read_map(FOLDER / f"{name}.toml", table, timezone)


def check(name: str, columns: Iterable[str], file: str) -> None:
    """See that a file is not plainly another known export than the one that was named.

    Raises
    ------
    BadInput
        Naming the one that it is by its columns.
    """
    there = {column.casefold() for column in columns}
    other = next(
        (known for known, signs in SIGNS.items() if any(sign <= there for sign in signs)), None
    )
    if other not in (None, name) and not any(sign <= there for sign in SIGNS[name]):
        raise BadInput(
            gettext(
                "{file} is no export of {name}: by its columns it is one of {other}; use "
                "--format {other}."
            ).format(file=file, name=name, other=other)
        )


def recognised(columns: Iterable[str], table: str) -> tuple[str, str] | None:
    """The known export with such columns, and the table it is for: the one asked for, if it says something of it."""
    there = {name.casefold() for name in columns}
    for name, signs in SIGNS.items():
        if any(sign <= there for sign in signs):
            sections = tomllib.loads((FOLDER / f"{name}.toml").read_text(encoding="utf-8"))
            return name, table if table in sections else next(iter(sections))
    return None
