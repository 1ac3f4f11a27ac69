"""Make files with the headers of shop systems, and check the maps proposed for them.

The sets are in ``header_sets/*.toml``: headers, kinds of values and the expected canonical columns.
All values are made up here.
"""

import csv
import io
import random
import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).with_name("header_sets")
ORDERS, CUSTOMERS, ITEMS = 120, 40, 25
NAMES = ["Ann Ash", "Bo Berg", "Cy Cole", "Di Dorn", "Ed Ems", "Flo Finn", "Gil Gray", "Hal Hunt"]


@dataclass(frozen=True)
class HeaderSet:
    """A file's headers, the kinds of their values, and the expected canonical columns."""

    name: str
    platform: str
    half: str
    columns: tuple[tuple[str, str, str], ...]
    language: str = "en"
    date: str = "%Y-%m-%d %H:%M:%S"
    decimal: str = "."
    delimiter: str = ","
    encoding: str = "utf-8"
    lines: bool = True
    format: str = ""

    def content(self) -> bytes:
        """Return the made-up file."""
        text = io.StringIO()
        writer = csv.writer(text, delimiter=self.delimiter, lineterminator="\n")
        writer.writerow(header for header, _, _ in self.columns)
        writer.writerows(_Rows(self).rows())
        return text.getvalue().encode(self.encoding)

    def expected(self) -> dict[str, set[str]]:
        """Return the headers that each canonical column must use."""
        required: dict[str, set[str]] = {}
        for header, _, target in self.columns:
            if target and not target.endswith("?"):
                required.setdefault(target, set()).add(header)
        prices, pieces = required.pop("price", set()), required.get("quantity", set())
        if prices and "amount" not in required:
            required["amount"] = prices | pieces
        return required

    def allowed(self, target: str) -> set[str]:
        """Return the headers that a canonical column may also use."""
        return {header for header, _, other in self.columns if other.rstrip("?") == target}


@dataclass(frozen=True)
class Outcome:
    """How many canonical columns of a set are right, and which are not."""

    columns: int
    right: int
    wrong_unflagged: list[str] = field(default_factory=list)
    mistakes: list[str] = field(default_factory=list)


def load_sets() -> list[HeaderSet]:
    """Read all header sets."""
    return [
        HeaderSet(**{**each, "columns": _columns(each["columns"])})
        for path in sorted(FOLDER.glob("*.toml"))
        for each in tomllib.loads(path.read_text(encoding="utf-8"))["set"]
    ]


def _columns(text: str) -> tuple[tuple[str, str, str], ...]:
    lines = [line.split("|") for line in text.strip().splitlines()]
    return tuple((header.strip(), kind.strip(), target.strip()) for header, kind, target in lines)


class _Rows:
    """Make the rows of a set, the same each time."""

    def __init__(self, header_set: HeaderSet) -> None:
        self.set, self.random = header_set, random.Random(header_set.name)

    def rows(self) -> list[list[str]]:
        """Return all rows; an order has one to three lines."""
        rows: list[list[str]] = []
        for order in range(ORDERS):
            customer = self.random.randrange(CUSTOMERS)
            at = datetime(2024, 1, 3, 7, 15, 9) + timedelta(hours=61 * order)
            chosen: dict[str, str] = {}
            lines = self.random.randint(1, 3) if self.set.lines else 1
            items = self.random.sample(range(ITEMS), lines)
            pieces = [self.random.choice((1, 1, 1, 2, 3)) for _ in items]
            pairs = zip(items, pieces, strict=True)
            sums = [count * (450 + 83 * item) / 100 for item, count in pairs]
            for position, item in enumerate(items):
                context = {
                    "row": len(rows) + 1,
                    "order": 1001 + order,
                    "customer": 100 + customer * 7,
                    "at": at,
                    "item": 200 + item,
                    "pieces": pieces[position],
                    "unit": (450 + 83 * item) / 100,
                    "total": sum(sums),
                    "position": position + 1,
                }
                rows.append([self._value(kind, context, chosen) for _, kind, _ in self.set.columns])
        return rows

    def _value(self, kind: str, at: dict[str, Any], chosen: dict[str, str]) -> str:
        name, _, options = kind.partition(" ")
        words, number = next(csv.reader([options]), []), at["customer"]
        person = f"{NAMES[number % 8]} {number}"
        draw = self.random
        if name in ("order", "customer", "item", "uid"):
            return options % (at["row"] * 7919 % 99_991 if name == "uid" else at[name])
        if name == "state":  # of the order: mostly the first words
            place = min(int(draw.expovariate(0.9)), len(words) - 1)
            return chosen.setdefault(kind, words[place])
        made: dict[str, Callable[[], Any]] = {
            "date": lambda: at["at"].strftime(self.set.date),
            "later": lambda: (at["at"] + timedelta(days=2)).strftime(self.set.date),
            "day": lambda: f"{at['at']:%Y-%m-%d}",
            "clock": lambda: f"{at['at']:%H:%M:%S}",
            "name": lambda: person,
            "email": lambda: f"{person.replace(' ', '.').lower()}@example.org",
            "own": lambda: words[number % len(words)],
            "price": lambda: self._money(at["unit"]),
            "line": lambda: self._money(at["unit"] * at["pieces"]),
            "total": lambda: self._money(at["total"]),
            "signed": lambda: self._money(at["unit"] * draw.choice((0.2, 0.1, -0.1))),
            "discount": lambda: self._money(draw.choice((0.0, 0.0, 0.5, 1.25))),
            "small": lambda: draw.randint(int(words[0]), int(words[1])),
            "row": lambda: at["row"],
            "position": lambda: at["position"],
            "quantity": lambda: at["pieces"],
            "title": lambda: f"Mug no. {at['item']}, red",
            "products": lambda: f"{at['pieces']}× Mug no. {at['item']}, {draw.randint(1, 3)}× Bag",
            "yen": lambda: round(at["unit"] * 100),
            "yendiscount": lambda: draw.choice(("0", "0", "100")),
            "rate": lambda: draw.choice(words),
            "word": lambda: draw.choice(words),
            "phone": lambda: f"+8613{number:09d}",
            "const": lambda: options,
            "blank": lambda: "",
        }
        return str(made[name]())

    def _money(self, amount: float) -> str:
        return f"{amount:.2f}".replace(".", self.set.decimal)


# ---------------------------------------------------------------- judging a proposed map


def judge(header_set: HeaderSet, proposal: str, flagged: set[str]) -> Outcome:
    """Compare a proposed map with the expected columns.

    Parameters
    ----------
    header_set : HeaderSet
    proposal : str
        TOML.
    flagged : set of str
        Canonical columns, and headers, that the proposal marks as doubtful.
    """
    if header_set.format:
        is_right = f"--format {header_set.format}" in proposal
        return Outcome(1, int(is_right), [], [] if is_right else ["format"])
    used = used_columns(proposal, [header for header, _, _ in header_set.columns])
    expected = header_set.expected()
    right, mistakes, unflagged = 0, [], []
    for target, headers in expected.items():
        is_alternative = len(headers) == 1 and used.get(target, set()) - headers
        if used.get(target) == headers or (
            is_alternative and used[target] <= header_set.allowed(target)
        ):
            right += 1
            continue
        mistakes.append(f"{target}: {used.get(target)} instead of {headers}")
        if target in used and not flagged & {target, *used[target]}:
            unflagged.append(target)
        if target == "status" and not flagged & headers:
            unflagged.append(target)
    for target in used.keys() - expected.keys():
        if target == "country" or used[target] <= header_set.allowed(target):
            continue
        mistakes.append(f"{target}: {used[target]} instead of nothing")
        if not flagged & {target, *used[target]}:
            unflagged.append(target)
    return Outcome(len(expected), right, unflagged, mistakes)


def used_columns(proposal: str, headers: list[str]) -> dict[str, set[str]]:
    """Return the headers that each canonical column of a map uses.

    A filter by status counts as the canonical column "status".
    """
    section = dict(next(iter(tomllib.loads(proposal).values())))
    made = section.pop("from", {}).get("sql", "")
    used: dict[str, set[str]] = {}
    for target, value in section.items():
        if target in ("timezone", "where", "title", "attributes"):
            if target == "title" and value in headers:
                used["title"] = {value}
            continue
        if target == "leave_out":
            # Others say nothing yet, and only wait for the first cancelled order.
            used["status"] = {column for column, left_out in value.items() if left_out} or {*value}
            continue
        if isinstance(value, str):
            used[target] = {value} if value in headers else _quoted(made, headers)
        elif "sql" in value:
            columns = _quoted(value["sql"], headers)
            if target == "event_type" and any(map(_is_status, columns)):
                target = "status"
            if target == "event_id":  # equal lines, numbered by the column of row numbers
                columns = _quoted("".join(re.findall(r"ORDER BY ([^)]*)\)", made)), headers)
            if columns:
                used[target] = columns
    if "discount" in used:  # a rate is made an amount by the amount's columns
        used["discount"] = used["discount"] - used.get("amount", set()) or used["discount"]
    return used


def _quoted(sql: str, headers: list[str]) -> set[str]:
    return {header for header in headers if f'"{header}"' in sql}


def _is_status(header: str) -> bool:
    return bool(re.search("(?i)stat|状態|状态|ステータス|estado|stato|état|situa", header))
