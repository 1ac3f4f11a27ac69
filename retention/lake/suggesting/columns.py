"""Choose a file's column for each canonical column, and note what is doubtful."""
# ruff: noqa: S608 - names are quoted (mapping.quoted)

import re
from typing import Any

from retention.lake.importing.mapping import quoted
from retention.lake.schema import TABLES, Table
from retention.lake.suggesting.map_lines import ORDER_LINE, Doubt, DoubtCode
from retention.lake.suggesting.order_rows import find_time_of_day
from retention.lake.suggesting.profiles import (
    EXACT,
    MAX_CATEGORIES,
    Profile,
    is_synonym_of,
    name_words,
    plain,
    similarity,
    synonyms,
)
from retention.lake.suggesting.statuses import is_status_name
from retention.text import gettext

MAX_NEW_CUSTOMERS = 0.98  # share of rows with a customer of their own; above, the id is doubtful
MIN_NAMES = 0.8  # share of values with a space, for people's names
MIN_EPOCH = 10**8  # seconds since 1970; spreadsheet days are too like other numbers
MIN_CODED = 0.99  # share of numbers that are times, such as seconds since 1970
MIN_LISTS = 0.5  # share of values like "2× Mug, 1× Bag"
MAX_COMMON = 0.5  # share of the commonest value of an order's total
MIN_ORDERS = 5  # with several lines, to tell an order's total from a line's
# Columns of an order line; the others belong to the order.
_LINE_COLUMNS = ("event_id", "item_id", "quantity", "price", "amount", "discount", "title")


class ColumnChoice:
    """The columns chosen for a table's canonical columns.

    Names decide first, then contents. With order lines, columns of the line come from its fields
    only.

    `has_lines`: whether the rows are unnested order lines.
    `columns`: canonical column, also ``price``, ``country`` and ``time_of_day``, to the file's
    column.
    """

    def __init__(
        self,
        con: Any,
        rows: str,
        profiles: list[Profile],
        table: Table,
        *,
        has_lines: bool = False,
        is_typed: bool = False,
    ) -> None:
        self.con, self.rows, self.profiles, self.table = con, rows, profiles, table
        self.has_lines, self.is_typed = has_lines, is_typed
        self.columns: dict[str, Profile] = {}
        self.doubts: list[Doubt] = []
        self._scores = self._score()
        self._choose_by_name()
        if table.name == "events":
            self._choose_events()

    # ------------------------------------------------------------ names

    def _score(self) -> dict[str, list[tuple[float, Profile]]]:
        """Score all columns for each canonical column, the best first.

        A synonym of one canonical column is no candidate for another by a similar name.
        """
        names = synonyms()[self.table.name]
        scores: dict[str, list[tuple[float, Profile]]] = {target: [] for target in names}
        for profile in self.profiles:
            by_target = {target: similarity(profile.name, names[target]) for target in names}
            best = max(by_target.values())
            for target, score in by_target.items():
                if (
                    best >= EXACT > score
                    or (score < EXACT and _describes_customer(profile, target))
                    or (self.has_lines and not _belongs_to_level(profile, target))
                ):
                    continue
                scores[target].append((score * _fit(profile, target, self.table), profile))
        return {
            target: sorted(each, key=lambda scored: -scored[0]) for target, each in scores.items()
        }

    def _choose_by_name(self) -> None:
        order = list(self._scores)
        scored = sorted(
            (-score, place, order.index(target), target)
            for target, candidates in self._scores.items()
            for score, profile in candidates
            for place in [self.profiles.index(profile)]
            if score >= 0.5
        )
        for score, place, _, target in scored:
            profile = self.profiles[place]
            if target not in self.columns and profile not in self.columns.values():
                self.columns[target] = profile
                if -score < EXACT:
                    text = gettext("{column} is taken for {target} because of its name.")
                    self._doubt(DoubtCode.SIMILAR_NAME, target, text)

    def _doubt(self, code: DoubtCode, target: str, text: str, column: str | None = None) -> None:
        column = column or self.columns[target].name
        self.doubts.append(Doubt(code, target, column, text.format(column=column, target=target)))

    def _drop(self, target: str) -> None:
        self.columns.pop(target, None)
        self.doubts = [doubt for doubt in self.doubts if doubt.target != target]

    def _free(self) -> list[Profile]:
        return [profile for profile in self.profiles if profile not in self.columns.values()]

    # ------------------------------------------------------------ events

    def _choose_events(self) -> None:
        if "event_type" in self.columns and is_status_name(self.columns["event_type"].name):
            self._drop("event_type")
        changed = self.columns.get("stated_at")
        if changed and not ("occurred_at" in self.columns and is_synonym_of(changed, "stated_at")):
            self._drop("stated_at")
        for target in ("item_id", "title"):
            if target in self.columns and self._is_list(self.columns[target]):
                self._drop(target)
        self._choose_by_content()
        amount, price = self.columns.get("amount"), self.columns.get("price")
        if "quantity" not in self.columns and amount and price and _is_quantity(amount, price):
            self._drop("amount")
            self.columns["quantity"] = amount
        self._choose_time_of_day()
        self._replace_order_total()
        self._choose_item_name()
        self._choose_event_id()
        self._check_customer()

    def _choose_by_content(self) -> None:
        """Choose columns by content.

        Event words give the event type, the first time is ``occurred_at``, the first repeated id
        is the customer, decimals are amounts, and small counts are quantities.
        """
        if self.has_lines:
            self._first("order_id", lambda column: column.name.casefold() == "id")
            # Without an event id, equal lines of an order would be deduplicated.
            self._first(
                "event_id",
                lambda column: (
                    column.name.casefold() == f"{ORDER_LINE}.id" and column.distinct == column.rows
                ),
            )
        self._first(
            "event_type",
            lambda column: (
                column.words >= 0.8 and column.distinct > 1 and not is_status_name(column.name)
            ),
        )
        self._first(
            "occurred_at",
            lambda column: column.is_moment and not _describes_customer(column),
            lambda column: (
                column.coded_moments >= MIN_CODED
                and column.distinct > 1
                and column.largest > MIN_EPOCH
            ),
        )
        if "amount" not in self.columns and "price" not in self.columns:
            self._first(
                "amount",
                lambda column: column.is_number and column.whole < 0.9 and column.filled > 0.5,
            )
        self._first(
            "customer_id",
            lambda column: column.emails >= 0.5,
            _is_repeated_id,
            lambda column: column.whole >= 0.9 and column.distinct > 1,
        )
        if all(re.fullmatch(r"column\d+", profile.name) for profile in self.profiles):  # no header
            self._first(
                "quantity",
                lambda column: (
                    column.whole >= 0.9
                    and 0 <= column.largest < 10_000
                    and column.distinct < 0.2 * column.rows + 5
                ),
            )

    def _choose_time_of_day(self) -> None:
        """Take the time of day beside a column of dates."""
        date = self.columns.get("occurred_at")
        if date is None or self.has_lines:
            return
        time = find_time_of_day(self.con, self.rows, date, self._free(), is_typed=self.is_typed)
        if time is not None:
            self.columns["time_of_day"] = time

    def _first(self, target: str, *conditions: Any) -> None:
        for is_match in conditions:
            for profile in self._free():
                fits = is_match(profile) and (
                    not self.has_lines or _belongs_to_level(profile, target)
                )
                if fits and target not in self.columns:
                    self.columns[target] = profile
                    if not is_synonym_of(profile, target):
                        text = gettext("{column} is taken for {target} because of its values.")
                        self._doubt(DoubtCode.CONTENT, target, text)

    def _is_list(self, profile: Profile) -> bool:
        """Return whether values list several items, like "2× Mug, 1× Bag"."""
        column = f"{quoted(profile.name)}::VARCHAR"
        return (
            self._share(column, f"regexp_matches({column}, '^\\s*\\d+\\s?[×xX*]\\s')") > MIN_LISTS
        )

    def _share(self, column: str, condition: str) -> float:
        """Return the share of filled values for which a condition holds."""
        sql = f"SELECT avg(({condition})::INTEGER) FROM {self.rows} WHERE trim({column}) <> ''"
        return float(self.con.execute(sql).fetchall()[0][0] or 0.0)

    def _replace_order_total(self) -> None:
        """Replace an order's total, repeated on its lines, by an amount of the line.

        It would count several times.
        """
        order, amount = self.columns.get("order_id"), self.columns.get("amount")
        if self.has_lines or not order or not amount or not self._is_of_order(amount, order):
            return
        for score, profile in self._scores["amount"]:
            if score >= 0.5 and profile in self._free() and not self._is_of_order(profile, order):
                self._drop("amount")
                self.columns["amount"] = profile
                if score < EXACT:
                    text = gettext("{column} is taken for {target} because of its name.")
                    self._doubt(DoubtCode.SIMILAR_NAME, "amount", text)
                return
        if "price" in self.columns:
            self._drop("amount")
            return
        self._doubt(
            DoubtCode.ORDER_TOTAL,
            "amount",
            gettext("{column} is the same on all lines of an order and counts once for each."),
        )

    def _is_of_order(self, profile: Profile, order: Profile) -> bool:
        """Return whether a column is constant in orders of several different lines."""
        name, key = quoted(profile.name), quoted(order.name)
        others = ", ".join(quoted(each.name) for each in self.profiles if each is not profile)
        orders, constant = self.con.execute(
            f"SELECT count(*), count(*) FILTER (amounts = 1) FROM (SELECT {key}, "
            f"count(DISTINCT {name}) AS amounts, count(DISTINCT hash({others})) AS lines "
            f"FROM {self.rows} GROUP BY 1) WHERE lines > 1"
        ).fetchall()[0]
        if orders < MIN_ORDERS or constant < 0.95 * orders:
            return False
        # Where nearly all lines of a shop cost the same, so do those of an order.
        most = self.con.execute(
            f"SELECT max(number) / sum(number) FROM (SELECT count(*) AS number FROM {self.rows} "
            f"GROUP BY {name})"
        ).fetchall()[0][0]
        return bool(most < MAX_COMMON)

    def _choose_item_name(self) -> None:
        """Take a name of few values, next to a price, for the item."""
        if "item_id" in self.columns or not {"price", "amount"} & self.columns.keys():
            return
        title = self.columns.pop("title", None)
        if title and _is_item_name(title):
            self.columns["item_id"] = title
            return
        if title:
            self.columns["title"] = title
        words = synonyms()["names"]
        for profile in self._free():
            name = plain(profile.name)
            if (
                any(map(name.endswith, words["thing"]))
                and not any(word in name for word in words["person"])
                and _is_item_name(profile)
                and profile.distinct > 1
                and not self._is_list(profile)
            ):
                self.columns["item_id"] = profile
                text = gettext("{column} is taken for {target} because of its values.")
                self._doubt(DoubtCode.CONTENT, "item_id", text)
                return

    def _choose_event_id(self) -> None:
        """Take an id of the line for the event id.

        Only lines of orders need one, because equal lines would be deduplicated.
        """
        order = self.columns.get("order_id")
        if self.has_lines or not order or order.distinct >= order.rows:
            if not self.has_lines:
                self._drop("event_id")
            return
        for profile in self._free():
            is_id = is_synonym_of(profile, "item_id") or is_synonym_of(profile, "order_id")
            if "event_id" not in self.columns and is_id and _is_unique(profile):
                self.columns["event_id"] = profile

    def _check_customer(self) -> None:
        """Prefer an e-mail address to names of people, and doubt names and new ids."""
        customer = self.columns.get("customer_id")
        if customer is None:
            return
        column = f"{quoted(customer.name)}::VARCHAR"
        has_names = (
            not customer.emails
            and not customer.is_number
            and self._share(column, f"trim({column}) LIKE '% %'") >= MIN_NAMES
        )
        if has_names:
            address = next((one for one in self._free() if one.emails >= 0.5), None)
            if address and address.filled >= 0.9 * customer.filled:
                self._drop("customer_id")
                self.columns["customer_id"] = customer = address
            else:
                text = gettext("{column} has names: two customers with one name count as one.")
                self._doubt(DoubtCode.CUSTOMER_NAMES, "customer_id", text)
        if customer.distinct > MAX_NEW_CUSTOMERS * customer.filled * customer.rows:
            text = gettext("{column}: hardly anybody twice. Is it a new one for each order?")
            self._doubt(DoubtCode.NEW_CUSTOMERS, "customer_id", text)


def choose_columns(
    con: Any, rows: str, profiles: list[Profile], table: Table
) -> dict[str, Profile]:
    """Choose columns without the doubts; see `ColumnChoice`."""
    return ColumnChoice(con, rows, profiles, table).columns


def _is_item_name(profile: Profile) -> bool:
    return (
        not (profile.is_number or profile.is_moment or profile.emails)
        and profile.filled > 0.5
        and profile.distinct <= max(MAX_CATEGORIES, 0.5 * profile.rows)
    )


def _is_unique(profile: Profile) -> bool:
    return profile.filled >= 1 and profile.distinct == profile.rows and not profile.is_moment


def _is_quantity(amount: Profile, price: Profile) -> bool:
    """Return whether an "amount" is a quantity. A quantity has few distinct whole numbers."""
    return amount.whole >= 0.999 and 5 * amount.distinct < price.distinct


def _fit(profile: Profile, target: str, table: Table) -> float:
    """Score from 0 to 1 how values fit."""
    if not profile.filled:
        return 0.0
    kind = table[target].kind if target in table.names else {"price": "number"}.get(target, "text")
    fits = True
    if kind == "moment":
        fits = profile.moments >= 0.8 or profile.coded_moments >= MIN_CODED
    elif target == "quantity":
        fits = profile.is_number and (
            profile.whole < 0.99 or profile.distinct <= max(MAX_CATEGORIES, 0.2 * profile.rows)
        )
    elif kind == "number":
        fits = profile.is_number
    elif target == "event_type":
        fits = profile.words > 0
    elif target == "email":
        fits = profile.emails >= 0.5
    elif target == "event_id" and table.name == "events":
        fits = _is_unique(profile)
    elif target == "title" and table.name == "events":
        fits = not (profile.is_number or profile.is_moment)
    elif target.endswith("_id"):
        fits = not (profile.is_moment or (profile.is_number and profile.whole < 0.9))
    return float(fits)


def _describes_customer(profile: Profile, target: str = "occurred_at") -> bool:
    """Return whether a name is of a property of customers, such as "customer_city"."""
    kinds = {"customer_id": "of_customer", "occurred_at": "birth"}
    words = synonyms()["names"].get(kinds.get(target, ""), ())
    return not name_words(profile.name).isdisjoint(words)


def _belongs_to_level(profile: Profile, target: str) -> bool:
    """Return whether column and target have one level.

    The level is the line or the order.

    An order's total, repeated on each line, would count several times.
    """
    return profile.name.startswith(f"{ORDER_LINE}.") == (target in _LINE_COLUMNS)


def _is_repeated_id(profile: Profile) -> bool:
    return (
        not profile.is_moment
        and (profile.whole >= 0.9 or profile.numbers < 0.5)
        and profile.distinct > min(20, 0.05 * profile.rows)
        and profile.distinct < 0.98 * profile.rows + 1
    )


def events_columns(con: Any, rows: str, profiles: list[Profile]) -> dict[str, Profile]:
    """Choose the columns of events in a file of sales."""
    return choose_columns(con, rows, profiles, TABLES["events"])
