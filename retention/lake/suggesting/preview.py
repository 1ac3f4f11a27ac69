"""Preview an import: what a shop owner can check against the shop's own figures."""
# ruff: noqa: S608 - SQL consists of names of views and literals

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from retention.errors import BadInput
from retention.lake import formats
from retention.lake.cleaning.cleaning_rules import NAME as CLEAN_RULES
from retention.lake.importing.import_files import NoUsableRow, import_files
from retention.lake.importing.import_log import ImportReport, add_reports
from retention.lake.importing.mapping import ANY_VALUE, Mapping, literal
from retention.lake.lake import Lake
from retention.lake.quality import find_findings
from retention.lake.schema import TABLES
from retention.lake.suggesting.order_rows import OrderRule, order_rule
from retention.progress import Progress, silent
from retention.settings import Settings
from retention.templating import count, day
from retention.text import gettext


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Orders that do not count, and why.

    `code`: "status": the map's ``leave_out``, with ``column`` and ``value``. "cancelled": orders
    that returns undo, or that the export says were cancelled.
    """

    code: str
    rows: int
    orders: int
    of_orders: int
    column: str = ""
    value: str = ""

    @property
    def text(self) -> str:
        """The reason, for people."""
        if self.code == "cancelled":
            orders = count(self.orders, gettext("cancelled order"), gettext("cancelled orders"))
            return gettext("{orders} left out").format(orders=orders)
        value = self.column if self.value == ANY_VALUE else self.value
        text = gettext("{orders:,} of {of_orders:,} orders are {value}: left out")
        return text.format(orders=self.orders, of_orders=self.of_orders, value=value)


@dataclass(frozen=True, slots=True)
class Preview:
    """What an import would bring.

    `customers`, `orders`: customers with orders, and their orders that were not cancelled. Lines
    without an order id are one order per customer and day.
    `revenue`: sum of the amounts of these orders by currency ("" where none is named). Partial
    refunds are not taken off.
    `items`: different items of these orders.
    `first_day`, `last_day`: of the events, in the shop's time zone.
    `zone`: the shop's time zone: the installation's, or else that of the map.
    `findings`: rows to look at; see `retention.lake.quality.find_findings`.
    `report`: of the import into a temporary lake: rows by outcome, quarantine and notes by file.
    """

    customers: int
    orders: int
    revenue: dict[str, float]
    items: int
    first_day: date | None
    last_day: date | None
    zone: str
    left_out: tuple[LeftOut, ...]
    findings: tuple[dict[str, Any], ...]
    report: ImportReport
    order_rule: OrderRule

    @property
    def figures(self) -> str:
        """The figures in a phrase that a shop owner can check.

        For example "1,316 customers, 3,527 orders, sales of 112,000 EUR, 2 Jan 2023 to 24 Mar
        2025".
        """
        orders = {
            "order": count(self.orders, "order"),
            "renewal": count(self.orders, "payment"),
            "activity": count(self.orders, "active day"),
        }[self.report.means or "order"]
        parts = [count(self.customers, "customer"), orders]
        parts += [
            gettext("sales of {amount}").format(amount=f"{_round(amount):,.0f} {currency}".strip())
            for currency, amount in self.revenue.items()
        ]
        if self.first_day and self.last_day:
            parts.append(
                gettext("{first} to {last}").format(
                    first=day(self.first_day.isoformat()), last=day(self.last_day.isoformat())
                )
            )
        return ", ".join(parts)

    @property
    def text(self) -> str:
        """One sentence: the figures, and what is left out."""
        return "; ".join([self.figures, *(one.text for one in self.left_out)])

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON and templates."""
        pairs = (("first_day", self.first_day), ("last_day", self.last_day))
        days = {name: at and at.isoformat() for name, at in pairs}
        left_out = [asdict(one) | {"text": one.text} for one in self.left_out]
        report = self.report.as_dict() | {"quarantine_path": None}  # it was temporary
        return (
            asdict(self)
            | days
            | {"left_out": left_out, "report": report, "figures": self.figures}
            | {"currency": next(iter(self.revenue), "")}
            | {"findings": [*self.findings]}
            | {"order_rule": asdict(self.order_rule) | {"text": self.order_rule.text}}
        )


def preview(
    settings: Settings,
    files: list[str],
    map_path: Path | None = None,
    *,
    format_name: str | None = None,
    query: str | None = None,
    progress: Progress = silent,
    more: Sequence[tuple[list[str], Path | None]] = (),
) -> Preview:
    """Import files of events into a temporary lake, and say what they bring.

    The shop's lake, database and quarantine stay as they are. The same cleaning rules apply as in
    the import, so the figures are those of the import into an empty lake.

    `settings`: gives the time zone and the cleaning rules.
    `files`: paths, or one URL of a database with ``query``.
    `map_path`: the map. Without one, the files have canonical column names or are of a known
    format.
    `format_name`: known export, such as "shopify-orders".
    `more`: files of other shapes that belong to them, with their maps.
    Raises `BadInput`: as `import_files`: for an unreadable file, or a map that does not fit it.
    """
    with TemporaryDirectory(prefix="retention-preview-") as name:
        folder = Path(name)
        own_rules = settings.home / CLEAN_RULES
        if own_rules.is_file():
            shutil.copy(own_rules, folder / CLEAN_RULES)
        own = settings.model_copy(update={"home": folder, "lake_url": f"duckdb://{folder}/lake"})
        lake = Lake.open(own)
        try:
            report = import_files(
                lake,
                None,
                own,
                "events",
                files,
                map_path,
                query=query,
                format_name=format_name,
                progress=progress,
            )
            for others, other_map in more:
                other = import_files(
                    lake, None, own, "events", others, other_map, progress=progress
                )
                report = add_reports(report, other)
            zone = report.timezone or settings.timezone
            mapped = formats.mapping_for(TABLES["events"], zone, map_path, format_name)
            return summarise(lake, zone, report, mapped)
        except NoUsableRow as error:  # the file with the reasons goes with the folder
            raise BadInput(error.brief) from None
        finally:
            lake.con.disconnect()


def summarise(
    lake: Lake, zone: str, report: ImportReport, mapped: Mapping | None = None
) -> Preview:
    """Count the customers, orders and sales of a lake after an import.

    `mapped`: the map; without one the columns have canonical names.
    """
    events = f'"{lake.table("events").get_name()}"'
    local_day = f"timezone({literal(zone)}, timezone('UTC', occurred_at))::DATE"
    order = f"hash(customer_id, order_id, CASE WHEN order_id IS NULL THEN {local_day} END)"
    sql = f"SELECT min({local_day}), max({local_day}) FROM {events}"
    first, last = lake.duckdb.execute(sql).fetchall()[0]
    sales = f"FROM {events} WHERE event_type = 'purchase'"
    customers, orders, items = lake.duckdb.execute(
        f"SELECT count(DISTINCT customer_id), count(DISTINCT {order}), "
        f"count(DISTINCT item_id) {sales}"
    ).fetchall()[0]
    revenue = lake.duckdb.execute(
        f"SELECT coalesce(upper(trim(currency)), ''), sum(amount) {sales} AND amount IS NOT NULL "
        "GROUP BY 1 ORDER BY 2 DESC, 1"
    ).fetchall()
    cancelled_rows, cancelled = lake.duckdb.execute(
        f"SELECT count(*), count(DISTINCT {order}) FROM {events} WHERE event_type = 'cancelled'"
    ).fetchall()[0]
    if report.means in ("renewal", "activity"):
        rule = OrderRule(report.means)
    elif mapped is not None:
        rule = order_rule(mapped)
    elif lake.duckdb.execute(f"SELECT 1 {sales} AND order_id IS NOT NULL LIMIT 1").fetchall():
        rule = OrderRule("number", ("order_id",))
    else:
        rule = OrderRule("day")
    left_out = [
        LeftOut("status", *(one[key] for key in ("rows", "orders", "of_orders", "column", "value")))
        for one in report.left_out
    ]
    if cancelled:
        left_out.append(LeftOut("cancelled", cancelled_rows, cancelled, orders + cancelled))
    return Preview(
        customers,
        orders,
        {currency: round(amount, 2) for currency, amount in revenue},
        items,
        first,
        last,
        zone,
        tuple(left_out),
        tuple(find_findings(lake)),
        report,
        rule,
    )


def _round(amount: float) -> float:
    """Round to three significant digits, as people read sums."""
    return float(f"{amount:.3g}") if abs(amount) >= 1000 else round(amount)
