"""Find the shop's currency, and refuse to mix several. Nothing is converted."""

from typing import TYPE_CHECKING, Any

from retention.errors import BadInput
from retention.lake.schema import TABLES
from retention.lake.storage import delta_store
from retention.settings import Settings
from retention.text import gettext

if TYPE_CHECKING:
    from retention.lake.lake import Lake

# Currencies as written next to amounts: parts of regular expressions for Python and DuckDB.
CODES = (
    "(?i:USD|EUR|GBP|CHF|SEK|NOK|DKK|PLN|CZK|HUF|RON|JPY|CNY|INR|AUD|NZD|CAD|BRL|MXN|ZAR|TRY|RUB)"
)
SHORT = r"kr\.?|zł|Kč|Ft|Fr\.?|Rs\.?"


class MixedCurrencies(BadInput):
    """Refuse events that would mix currencies."""

    def __init__(self, message: str, new: set[str], known: set[str]) -> None:
        super().__init__(message)
        self.new, self.known = frozenset(new), frozenset(known)


def event_currencies(con: Any, relation: str) -> set[str]:
    """Return a relation's currency codes, in capitals.

    `relation`: SQL of a relation with a column ``currency``.
    Returns: without empty codes.
    """
    rows = con.execute(
        f"SELECT DISTINCT upper(trim(currency)) FROM {relation} WHERE trim(currency) <> ''"  # noqa: S608
    ).fetchall()
    return {name for (name,) in rows}


def shop_currency(lake: "Lake", settings: Settings) -> str:
    """Return the configured currency, else the data's own."""
    if settings.currency:
        return settings.currency
    currencies = sorted(_stored_currencies(lake))
    if len(currencies) > 1:
        text = gettext(
            "The events are in {currencies}; amounts cannot be added without rates. "
            "Import them in one currency (an expression in the map) into a new "
            "RETENTION_HOME: what is here already stays as it was imported."
        )
        raise BadInput(text.format(currencies=", ".join(currencies)))
    return currencies[0] if currencies else ""


def check_single_currency(lake: "Lake", settings: Settings, new: set[str]) -> None:
    """Refuse events that would mix currencies.

    `settings`: its ``currency`` counts as stored.
    Raises `MixedCurrencies`: if old and new events have more than one currency. The message names
    all of them.
    """
    if not new:
        return
    known = _stored_currencies(lake) | ({settings.currency.strip().upper()} - {""})
    if len(new | known) > 1:
        against = ""
        if known:
            against = gettext(", the shop's are in {known}").format(known=", ".join(sorted(known)))
        text = gettext(
            "These amounts are in {new}{against}; they cannot be added without rates. "
            "Convert them in the map (amount = {{ sql = '…' }}, currency = {{ value = '…' "
            "}}), or leave some out by its `where`; nothing was imported."
        )
        raise MixedCurrencies(text.format(new=", ".join(sorted(new)), against=against), new, known)


def _stored_currencies(lake: "Lake") -> set[str]:
    files = delta_store.files(delta_store.open_table(lake.root, TABLES["events"]))
    if files:
        relation = f"read_parquet({files!r}, hive_partitioning = false, union_by_name = true)"
        return event_currencies(lake.duckdb, relation)
    return set()
