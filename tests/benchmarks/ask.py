"""Measure how well sentences are understood, on the files of ``sentences/``."""

import re
import sys
from collections import Counter
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from bot.ask import Subject, Understanding, changes, understand
from bot.ask.references import ShopNames
from tests.benchmarks.measure import Figure

FOLDER = Path(__file__).with_name("sentences")
TODAY = date(2017, 10, 2)
# What the shop of the cases has, where they say so.
CAMPAIGNS = {
    "c3fk92m": "October win-back",
    "c8qd41x": "Spring offer",
    "c5tz77p": "Coffee lovers 15%",
    "c2hm60r": "September reminder",
    "c9wb23k": "双十一召回",
    "c4jx58n": "国庆老客回馈",
}
GOODS = ("Cat food", "Coffee", "Wine", "猫粮")  # categories
AUDIENCES = ("wine-buyers", "vips", "nord-shoppers", "酒类买家", "老会员")  # saved
CITIES = ("Berlin", "Hamburg", "New York", "上海", "北京")  # of the cases with ``places=city``
_SUBJECT = re.compile(r"^\[([^\]]*)\] ")


@dataclass(frozen=True, slots=True)
class Case:
    """A sentence, its style, its thread's subject, and what it should be understood as."""

    style: str
    sentence: str
    subject: Subject
    command: str | None
    unused: tuple[str, ...]
    has_places: bool = False
    has_campaigns: bool = False
    has_goods: bool = False
    has_audiences: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """A case and its understanding."""

    case: Case
    understanding: Understanding

    @property
    def is_exact(self) -> bool:
        """The command is right, and exactly the parts that it lacks are named."""
        named = " | ".join(self.understanding.unused).lower()
        all_named = all(part.lower() in named for part in self.case.unused)
        return self.is_right_command and all_named and bool(named) == bool(self.case.unused)

    @property
    def is_right_command(self) -> bool:
        """The command line alone is right."""
        return self.understanding.command == self.case.command

    @property
    def proposes_wrong_change(self) -> bool:
        """Another changing command than the expected one is proposed."""
        return self.understanding.changes and not self.is_right_command

    @property
    def runs_wrong_change(self) -> bool:
        """A changing command would run without a confirmation."""
        line = self.understanding.command
        return line is not None and not self.understanding.changes and changes(line)


def read(half: str) -> list[Case]:
    """Read a file of sentences: ``tune``, ``report``, ``week`` or ``audiences``."""
    style, cases = "", []
    for line in (FOLDER / f"{half}.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("== "):
            style = line[3:]
            continue
        sentence, _, rest = line.partition(" => ")
        command, _, unused = rest.partition(" ~~ ")
        fields: dict[str, str] = {}
        if match := _SUBJECT.match(sentence):
            sentence = sentence[match.end() :]
            fields = dict(part.split("=", 1) for part in match[1].split("|"))
        parts = tuple(part.strip() for part in unused.split(";") if part.strip())
        has = [fields.pop(key, "") != "" for key in ("places", "campaigns", "goods", "audiences")]
        customers = tuple(fields.pop("customers", "").split(",")) if "customers" in fields else ()
        wanted = None if command == "-" else command
        cases.append(
            Case(style, sentence, Subject(**fields, customers=customers), wanted, parts, *has)
        )
    return cases


def results(half: str) -> list[Result]:
    """Understand every sentence of a half."""
    return [Result(case, _understood(case)) for case in read(half)]


def _understood(case: Case) -> Understanding:
    cities = {city.lower(): ("city", city) for city in CITIES}
    goods = {good.lower(): ("category", good) for good in GOODS}
    shop = ShopNames(
        AUDIENCES if case.has_audiences else (),
        places=(lambda: cities) if case.has_places else None,
        campaigns=CAMPAIGNS if case.has_campaigns else {},
        goods=(lambda: goods) if case.has_goods else None,
    )
    return understand(case.sentence, TODAY, case.subject, shop)


def ask() -> dict[str, Figure]:
    """The figures of ``make bench``: of the report half, and of the later files apart."""
    done = results("report")
    later = {half: results(half) for half in ("week", "audiences")}

    def share(number: int, least: float | None = None, among: int = len(done)) -> Figure:
        value = round(number / among, 4)
        target = f"≥ {least:g}" if least else ""
        return Figure(value, "share", target=target, met=value >= least if least else None)

    def none(number: int) -> Figure:
        return Figure(float(number), "sentences", target="0", met=number == 0)

    return {
        "ask_exact": share(sum(result.is_exact for result in done), 0.9),
        "ask_right_command": share(sum(result.is_right_command for result in done)),
        "ask_wrong_change_run": none(sum(result.runs_wrong_change for result in done)),
        "ask_wrong_change_proposed": none(sum(result.proposes_wrong_change for result in done)),
        "ask_sentences": Figure(float(len(done)), "sentences"),
        **{
            f"ask_{half}_exact": share(sum(result.is_exact for result in found), 0.9, len(found))
            for half, found in later.items()
        },
        **{
            f"ask_{half}_wrong_change_proposed": none(
                sum(result.proposes_wrong_change for result in found)
            )
            for half, found in later.items()
        },
    }


def main(half: str, *, details: bool) -> None:
    """Print the results of a half by style, and the misread sentences of the tune half."""
    done = results(half)
    total, exact = (
        Counter(r.case.style for r in done),
        Counter(r.case.style for r in done if r.is_exact),
    )
    for style, count in total.items():
        print(f"{style:22} {exact[style]:3} of {count:3}")
    print(f"{'all':22} {exact.total():3} of {total.total():3} = {exact.total() / len(done):.1%}")
    print("right command alone:", sum(r.is_right_command for r in done))
    print("wrong changes proposed:", sum(r.proposes_wrong_change for r in done))
    print("wrong changes run:", sum(r.runs_wrong_change for r in done))
    for result in done if details else ():
        if not result.is_exact:
            got, case = result.understanding, result.case
            print(f"{case.style}: {case.sentence}\n    want {case.command} ~~ {case.unused}")
            print(f"    got  {got.command} ~~ {got.unused}")


if __name__ == "__main__":
    # Misread sentences of the report half stay unseen, so that nobody tunes on them.
    chosen = sys.argv[1] if sys.argv[1:] else "tune"
    main(chosen, details=chosen == "tune")
