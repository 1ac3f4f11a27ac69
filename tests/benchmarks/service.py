"""Measure the chat's answers on written questions (``python -m tests.benchmarks.service``).

``--practice`` asks the practice questions and prints each one that fails. Without it, the 150
questions that were written before the code are asked, and only counts are printed.
"""

import argparse
import json
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from retention.service import answers, facts, intents
from retention.service.answers import Customer, Knowledge
from retention.service.facts import Code

SHOP = Path(__file__).with_name("service_shop")
NOW = datetime(2026, 11, 15, 12, tzinfo=UTC)


def read_knowledge() -> Knowledge:
    """Index the shop's policies and catalogue."""
    items = pd.read_csv(SHOP / "items.csv", dtype={"item_id": str})
    rows = [facts.product_of(row) for row in items.to_dict("records")]
    return answers.knowledge(facts.policies(SHOP / "policies"), rows, "EUR", "UTC")


def customers() -> dict[str, Customer]:
    """Return each customer's orders and valid codes."""
    titles = dict(pd.read_csv(SHOP / "items.csv")[["item_id", "title"]].itertuples(index=False))
    events = pd.read_csv(SHOP / "events.csv", parse_dates=["occurred_at"])
    codes = pd.read_csv(SHOP / "codes.csv", parse_dates=["valid_until"])
    everyone = {}
    for customer in pd.read_csv(SHOP / "customers.csv").customer_id:
        own = events[events.customer_id == customer]
        valid = codes[(codes.customer_id == customer) & (codes.valid_until > NOW)]
        everyone[customer] = Customer(
            facts.orders_of(own, titles),
            [Code(one.code, one.discount, one.valid_until) for one in valid.itertuples()],
        )
    return everyone


def grade(question: dict[str, Any], answer: answers.Answer) -> dict[str, Any]:
    """Return whether an answer is right, and whether it shows what it must not."""
    outcome = {"unknown": "unknown", "sign_in": "sign-in", "person": "handover"}.get(answer.code)
    refs = [outcome] if outcome else [source.ref for source in answer.sources] or ["unknown"]
    has_source = bool(set(refs) & set(question["sources"]))
    is_quotation = outcome is None and bool(answer.sources)
    misses = [one for one in question["must_contain"] if is_quotation and one not in answer.text]
    leaks = [one for one in question["must_not_contain"] if one in answer.text]
    return {"right": has_source and not misses and not leaks, "leaks": leaks, "refs": refs}


def is_quoted(answer: answers.Answer, known: Knowledge, own: Customer | None) -> bool:
    """Return whether every number of an answer stands in one of its sources: none is invented."""
    words = [f"{one.title} {one.text}" for each in known.sections.values() for one in each]
    words += [f"{product.text} {product.price:.2f}" for product in known.products]
    for order in own.orders if own else ():
        words.append(f"{order.order_id} {order.at:%Y %-d} {order.amount:.2f}")
        words += [f"{line.title} {line.quantity:g} {line.amount:.2f}" for line in order.lines]
    for code in own.codes if own else ():
        words.append(f"{code.code} {code.discount:.0%} {code.last_day:%Y %-d}")
    stored = " ".join(words).replace(",", "")
    return all(number in stored for number in _numbers(answer.text))


def _numbers(text: str) -> list[str]:
    return ["".join(part) for part in pd.Series([text]).str.findall(r"\d+(?:\.\d+)?").iloc[0]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--practice", action="store_true")
    practice = parser.parse_args().practice
    name = "practice.jsonl" if practice else "questions.jsonl"
    questions = [json.loads(line) for line in (SHOP / name).read_text("utf-8").splitlines()]
    known, everyone = read_knowledge(), customers()
    counts, right = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    leaks = invented = 0
    for question in questions:
        own = everyone.get(question["customer"])
        answer = answers.answer(question["text"], known, own)
        graded = grade(question, answer)
        group = question["kind"], question["language"]
        counts[group] += 1
        right[group] += graded["right"]
        leaks += bool(graded["leaks"])
        invented += not is_quoted(answer, known, own)
        if practice:
            _explain(question, graded, known)
            if not is_quoted(answer, known, own):
                print("INVENTED", answer.text)
    for kind, language in sorted(counts):
        print(f"{kind:13} {language}: {right[kind, language]} of {counts[kind, language]}")
    print(f"right {right.total()} of {counts.total()}; invented {invented}; others' data {leaks}")


def _explain(question: dict[str, Any], graded: dict[str, Any], known: Knowledge) -> None:
    language = intents.language_of(question["text"])
    sections = known.sections[language]
    nearest = [
        f"{sections[at].ref if at < len(sections) else known.products[at - len(sections)].item_id}"
        f" {score:.3f}"
        for at, score in answers.nearest(question["text"], known)
    ]
    print(
        "ok  " if graded["right"] else "FAIL",
        question["id"],
        question["text"][:44],
        question["sources"],
        graded["refs"],
        intents.intent_of(question["text"]),
        *nearest,
        sep=" | ",
    )


if __name__ == "__main__":
    main()
