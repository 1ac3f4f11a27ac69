"""Say what an import would bring, in figures that a shop's owner can check."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from retention.lake.cleaning.returns import cancelled_orders
from retention.lake.importing import import_files
from retention.lake.lake import Lake
from retention.settings import Settings


@dataclass(frozen=True, slots=True)
class Preview:
    """What a file holds, as a map reads it.

    Parameters
    ----------
    customers, orders, items : int
        Different ids of the purchases.
    revenue : dict of str to float
        By currency; ``""`` where the file names none.
    first_day, last_day : str or None
        Local days (ISO 8601) of the first and the last purchase.
    left_out : dict of str to int
        Rows by cause: ``filtered``, ``duplicate`` and ``quarantined``.
    quarantine_text : dict of str to int
        Quarantined rows by sentence.
    returned_orders : int
        Orders that were wholly returned or cancelled.
    """

    customers: int
    orders: int
    items: int
    revenue: dict[str, float]
    first_day: str | None
    last_day: str | None
    left_out: dict[str, int]
    quarantine_text: dict[str, int]
    returned_orders: int

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON and templates."""
        return asdict(self)


def preview(
    settings: Settings,
    folder: Path,
    files: list[str],
    map_path: Path | None = None,
    format_name: str | None = None,
    query: str | None = None,
) -> Preview:
    """Import files into a lake of their own and count.

    The figures are those of the import itself, because it is the same code.

    Parameters
    ----------
    settings : Settings
        Of the installation; nothing of it changes.
    folder : Path
        Empty folder for the temporary lake.
    files : list of str
    map_path : Path, optional
    format_name : str, optional
    query : str, optional
        As `retention.lake.importing.import_files` takes them.

    Raises
    ------
    BadInput
        The files cannot be imported.
    """
    scratch = settings.model_copy(update={"home": folder, "lake_url": f"duckdb://{folder}/lake"})
    lake = Lake.open(scratch)
    report = import_files(
        lake, None, scratch, "events", files, map_path, query=query, format_name=format_name
    )
    events = lake.table("events")
    bought = events.filter(events.event_type == "purchase")
    figures = bought.agg(
        customers=bought.customer_id.nunique(),
        orders=bought.order_id.nunique(),
        items=bought.item_id.nunique(),
        first=bought.occurred_at.min(),
        last=bought.occurred_at.max(),
    ).execute()
    revenue = bought.group_by("currency").agg(amount=bought.amount.sum()).execute()
    row = figures.iloc[0]

    def day(moment: Any) -> str | None:
        if moment != moment:  # NaT: no purchase
            return None
        return lake.local(moment.to_pydatetime()).date().isoformat()

    return Preview(
        customers=int(row.customers),
        orders=int(row.orders),
        items=int(row["items"]),
        revenue={
            currency if isinstance(currency, str) else "": round(float(amount), 2)
            for currency, amount in zip(revenue.currency, revenue.amount, strict=True)
            if amount == amount
        },
        first_day=day(row["first"]),
        last_day=day(row["last"]),
        left_out={
            "filtered": report.rows_filtered,
            "duplicate": report.rows_duplicate,
            "quarantined": report.rows_quarantined,
        },
        quarantine_text=report.quarantine_text,
        returned_orders=len(cancelled_orders(lake, None)),
    )
