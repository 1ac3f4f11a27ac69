"""Find the shop's currency, and refuse to mix several. Nothing is converted."""

from typing import Any

from retention.errors import BadInput
from retention.lake import store
from retention.lake.schema import TABLES
from retention.settings import Settings
from retention.text import gettext

# Currencies as written next to amounts: parts of regular expressions for Python and DuckDB.
CODES = (
    "(?i:USD|EUR|GBP|CHF|SEK|NOK|DKK|PLN|CZK|HUF|RON|JPY|CNY|INR|AUD|NZD|CAD|BRL|MXN|ZAR|TRY|RUB)"
)
SHORT = r"kr\.?|zł|Kč|Ft|Fr\.?|Rs\.?"


class MixedCurrencies(BadInput):
    """Refuse events that would mix currencies.

    Parameters
    ----------
    message : str
    new, known : set of str
        Currencies of the new events, and of those that are stored.
    """

    def __init__(self, message: str, new: set[str], known: set[str]) -> None:
        super().__init__(message)
        self.new, self.known = frozenset(new), frozenset(known)


def event_currencies(con: Any, relation: str) -> set[str]:
    """Return a relation's currency codes, in capitals.

    Parameters
    ----------
    con
        DuckDB connection.
    relation : str
        SQL of a relation with a column ``currency``.

    Returns
    -------
    set of str
        Without empty codes.
    """
    rows = con.execute(
        f"SELECT DISTINCT upper(trim(currency)) FROM {relation} WHERE trim(currency) <> ''"  # noqa: S608
    ).fetchall()
    return {name for (name,) in rows}


def shop_currency(lake: store.LakeTables, settings: Settings) -> str:
    """Return the configured currency, else the data's own.

    Parameters
    ----------
    lake : Lake
        Source of the events.
    settings : Settings
        Its ``currency`` has priority.

    Returns
    -------
    str
        Empty if the data has no currency.

    Raises
    ------
    BadInput
        If the data mixes currencies.
    """
    if settings.currency:
        return settings.currency
    currencies = sorted(_stored_currencies(lake))
    if len(currencies) > 1:
        raise BadInput(
            gettext(
                "The events are in {currencies}; amounts cannot be added without rates. "
                "Import them in one currency (an expression in the map) into a new "
                "RETENTION_HOME: what is here already stays as it was imported."
            ).format(currencies=", ".join(currencies))
        )
    return currencies[0] if currencies else ""


def check_single_currency(lake: store.LakeTables, settings: Settings, new: set[str]) -> None:
    """Refuse events that would mix currencies.

    Parameters
    ----------
    lake : Lake
        Source of the stored events.
    settings : Settings
        Its ``currency`` counts as stored.
    new : set of str
        Currencies of the new events, from `event_currencies`.

    Raises
    ------
    MixedCurrencies
        If old and new events have more than one currency. The message names all of them.
    """
    if not new:
        return
    known = _stored_currencies(lake) | ({settings.currency.strip().upper()} - {""})
    if len(new | known) > 1:
        against = (
            gettext(", the shop's are in {known}").format(known=", ".join(sorted(known)))
            if known
            else ""
        )
        raise MixedCurrencies(
            gettext(
                "These amounts are in {new}{against}; they cannot be added without rates. "
                "Convert them in the map (amount = {{ sql = '…' }}, currency = {{ value = '…' "
                "}}), or leave some out by its `where`; nothing was imported."
            ).format(new=", ".join(sorted(new)), against=against),
            new,
            known,
        )


def _stored_currencies(lake: store.LakeTables) -> set[str]:
    files = store.files(store.open_table(lake.root, TABLES["events"]))
    return (
        event_currencies(
            lake.duckdb, f"read_parquet({files!r}, hive_partitioning = false, union_by_name = true)"
        )
        if files
        else set()
    )
