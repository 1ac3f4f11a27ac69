"""``python -m tests.benchmarks.relations``: what derived relations add, where they matter or not.

Prints a Markdown table for two made-up shops. In one, customers of a household share a taste, and
lapse soon after each other. In the other, the same customers have addresses at random.
"""

import json
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from retention.churn.evaluation.evaluate import evaluate_at
from retention.churn.evaluation.uncertainty import Interval, log_losses, paired_interval
from retention.lake import Lake
from retention.progress import silent
from retention.recommend import recommend, train
from retention.recommend.side_information import liked_by_friends
from retention.window import Window
from tests import shops

CUSTOMERS, DAYS, TASTES, PER_TASTE, SHOWN = 1500, 420, 6, 8, 10
WINDOW = Window(28, 56)
ORIGINS = 3


def events_and_people(*, matters: bool, customers: int = CUSTOMERS) -> tuple[pd.DataFrame, ...]:
    """Generate orders, and customers two of whom share each address."""
    rng = np.random.default_rng(350)
    house = np.arange(customers) // 2
    taste = rng.integers(TASTES, size=customers)
    joined = rng.uniform(0, DAYS - 30, customers)
    rate = rng.gamma(3, 1 / 45, customers)
    leaves = joined + rng.exponential(250, customers)
    if matters:
        taste = taste[2 * house]
        pair = leaves.reshape(-1, 2)
        pair[:, 1] = np.maximum(joined[1::2] + 5, pair[:, 0] + rng.normal(25, 10, len(pair)))
        leaves = pair.reshape(-1)
    rows = []
    for who in range(customers):
        at = joined[who]
        while at < min(leaves[who], DAYS):
            for _ in range(int(rng.integers(1, 3))):
                liked = taste[who] if rng.random() < 0.8 else rng.integers(TASTES)
                item = f"i{liked}-{int(rng.integers(PER_TASTE))}"
                rows.append((f"c{who}", at, item))
            at += rng.exponential(1 / rate[who])
    orders = pd.DataFrame(rows, columns=["customer_id", "at", "item_id"])
    orders["occurred_at"] = [shops.BEGIN + timedelta(days=float(day)) for day in orders.pop("at")]
    orders = orders.assign(event_type="purchase", amount=10.0, quantity=1.0)
    people = pd.DataFrame(
        {
            "customer_id": [f"c{who}" for who in range(customers)],
            "created_at": [shops.BEGIN + timedelta(days=float(day) - 20) for day in joined],
            "attributes": [json.dumps({"address": f"{place} Hill Road"}) for place in house],
        }
    )
    return orders, people


def made_up(folder: Path, *, matters: bool, customers: int = CUSTOMERS) -> Lake:
    """Write the shop into a lake that derives relations."""
    orders, people = events_and_people(matters=matters, customers=customers)
    folder.mkdir(exist_ok=True)
    lake = shops.lake(folder, orders)
    lake.upsert("customers", people)
    lake.derives_relations = True
    return lake


def cutoffs() -> list[datetime]:
    """Cutoffs with label windows that do not overlap."""
    end = shops.BEGIN + timedelta(days=DAYS)
    return [end - timedelta(days=WINDOW.horizon_days * number) for number in range(1, ORIGINS + 1)]


def log_loss_gain(lake: Lake, model: str = "auto") -> Interval:
    """Return by how much relations lower the log-loss of churn, with a 95% interval."""
    gains, customers = [], []
    for cutoff in cutoffs():
        losses = []
        for is_on in (False, True):
            lake.derives_relations = is_on
            found = evaluate_at(lake, cutoff, WINDOW, model, silent)
            losses.append(log_losses(found.test.labels, found.probabilities))
        gains.append(losses[0] - losses[1])
        customers.append(found.test.frame.customer_id)
    return paired_interval(np.concatenate(gains), np.concatenate(customers))


def recall_gain(lake: Lake) -> tuple[float, Interval, int]:
    """Return newcomers' recall without relations, the gain with them, and their number.

    A newcomer has an account before the cutoff, and orders for the first time in the 28 days after.
    """
    without, gains, customers = [], [], []
    for cutoff in cutoffs():
        end = cutoff + timedelta(days=WINDOW.horizon_days)
        events = lake.table("events").execute()
        at = pd.to_datetime(events.occurred_at).dt.tz_localize(UTC)
        first = at.groupby(events.customer_id).min()
        new = sorted(first[(first >= cutoff) & (first < end)].index)
        bought = events[(at >= cutoff) & (at < end)].groupby("customer_id")["item_id"].agg(set)
        trained = train(lake, cutoff=cutoff)
        recalls = []
        for is_on in (False, True):
            lake.derives_relations = is_on
            lists = recommend(trained, lake, new, k=SHOWN, as_of=cutoff)
            hits = [len(bought[who] & {item.item_id for item in lists[who]}) for who in new]
            recalls.append(np.array(hits) / [len(bought[who]) for who in new])
        without.append(recalls[0])
        gains.append(recalls[1] - recalls[0])
        customers.append(np.array(new))
    gain = paired_interval(np.concatenate(gains), np.concatenate(customers))
    return float(np.concatenate(without).mean()), gain, len(np.concatenate(gains))


def share_gain(lake: Lake, places: int = 2) -> tuple[float, Interval, int]:
    """Return the recall of active customers' lists, and the gain if contacts fill the last places.

    The product has no such lists: this measures whether they would help.
    """
    without, gains, customers = [], [], []
    for cutoff in cutoffs():
        end = cutoff + timedelta(days=WINDOW.horizon_days)
        events = lake.table("events").execute()
        at = pd.to_datetime(events.occurred_at).dt.tz_localize(UTC)
        bought = events[(at >= cutoff) & (at < end)].groupby("customer_id")["item_id"].agg(set)
        own = events[at < cutoff].groupby("customer_id")["item_id"].agg(set)
        last = at[at < cutoff].groupby(events.customer_id).max()
        active = last[last >= cutoff - timedelta(days=WINDOW.active_within_days or 0)].index
        who = np.array(sorted({*active} & {*bought.index}), dtype=object)
        trained = train(lake, cutoff=cutoff)
        lists = recommend(trained, lake, [*who], k=SHOWN, as_of=cutoff)
        liked = liked_by_friends(lake, cutoff, who, trained.items).toarray()
        recalls = [[], []]
        for each, values in zip(who, liked, strict=True):
            plain = [item.item_id for item in lists[each]]
            best = trained.items[np.argsort(-values, kind="stable")][: (values > 0).sum()]
            new = [item for item in best if item not in own[each] and item not in plain][:places]
            social = plain[: SHOWN - len(new)] + new
            for recall, chosen in zip(recalls, (plain, social), strict=True):
                recall.append(len(bought[each] & {*chosen}) / len(bought[each]))
        without.append(recalls[0])
        gains.append(np.subtract(recalls[1], recalls[0]))
        customers.append(who)
    gain = paired_interval(np.concatenate(gains), np.concatenate(customers))
    return float(np.concatenate(without).mean()), gain, len(np.concatenate(gains))


def main() -> None:
    """Print the tables."""
    print("| shop | newcomers | recall without | with | gain | log-loss gain |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, matters in (("relations matter", True), ("addresses at random", False)):
        with tempfile.TemporaryDirectory() as folder:
            lake = made_up(Path(folder), matters=matters)
            before, gain, size = recall_gain(lake)
            after = before + gain.mean
            print(f"| {name} | {size} | {before:.3f} | {after:.3f} | {gain} |", end="", flush=True)
            print(f" {log_loss_gain(lake)} |", flush=True)
            before, gain, size = share_gain(lake)
            print(f"active customers, two places: {size}, {before:.3f}, {gain}", flush=True)


if __name__ == "__main__":
    main()
