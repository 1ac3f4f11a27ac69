"""``make simulate``: simulate campaigns with a known truth.

Its table is in docs/data_scientist/simulation.md.

It runs 2,000 campaigns of each kind. A shop's customers differ in how often they buy, what they
spend and whom an offer moves. The product's own functions measure, learn and target, and are held
against what the generator knows.
"""

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np
import pandas as pd
from scipy.special import expit

from retention.campaigns.measurement.effects import Effect, difference, smallest_effect
from retention.campaigns.measurement.sequential import effect_scale, running_effect
from retention.uplift.evaluation import RankingGain, select_learner, sequential_gain
from retention.uplift.experiment import Experiment
from retention.uplift.learners import LEARNERS, RiskBaseline
from retention.uplift.targeting import Limit, allocate_offers, expected_cost, incremental_profit

CAMPAIGNS, SEED = 2000, 20261124
DAYS, HOLDOUT, CUSTOMERS = 28, 0.15, 1500
BUYERS = 0.52  # share who order in the window without an offer
TAU = effect_scale(
    0.04,
    0.02,
    smallest_effect(BUYERS, CUSTOMERS - round(HOLDOUT * CUSTOMERS), round(HOLDOUT * CUSTOMERS)),
)
PAGE = Path(__file__).parents[2] / "docs" / "data_scientist" / "simulation.md"


@dataclass(frozen=True, slots=True)
class Campaign:
    """One simulated campaign: its arms, and orders and profit before and after sending.

    Orders and profit are (n, `DAYS`) a day; those before sending are (n,).
    """

    orders: np.ndarray
    profit: np.ndarray
    orders_before: np.ndarray
    profit_before: np.ndarray
    treated: np.ndarray


def campaign(seed: int, lift: float, customers: int = CUSTOMERS, days: int = DAYS) -> Campaign:
    """Draw a campaign whose offer brings ``lift`` extra orders a treated customer.

    They fall to half of the customers; ``lift`` is the average over all treated ones. Orders are
    Poisson at a customer's own (gamma) rate, baskets gamma; margin 30 %.
    """
    rng = np.random.default_rng([SEED, seed])
    rate = rng.gamma(1.5, 0.6, customers)
    moved = rng.random(customers) < 0.5
    treated = rng.permutation(customers) >= round(HOLDOUT * customers)
    orders = rng.poisson(rate[:, None] / days, (customers, days))
    extra = rng.random(customers) < 2 * lift * moved * treated
    orders[np.flatnonzero(extra), rng.integers(0, days, extra.sum())] += 1
    before = rng.poisson(rate)
    basket = rng.gamma(4.0, 8.0, customers)
    return Campaign(
        orders.astype(float),
        0.3 * orders * rng.gamma(4.0, 8.0, orders.shape),
        before.astype(float),
        0.3 * before * basket,
        treated,
    )


def effect(drawn: Campaign, name: str, cuped: bool = True) -> Effect:
    """The product's measurement of ``orders`` or ``profit`` at the end of the window."""
    now, before = getattr(drawn, name).sum(axis=1), getattr(drawn, f"{name}_before") * cuped
    return difference(
        now[drawn.treated], now[~drawn.treated], before[drawn.treated], before[~drawn.treated]
    )


def coverage(runs: int, lift: float = 0.08) -> dict[str, float]:
    """How often the 95 % interval holds the true effect, of orders and of profit.

    A profit is lift × 30 % × 32.
    """
    truth = {"orders": lift, "profit": lift * 0.3 * 32.0}
    covered = dict.fromkeys(truth, 0)
    for seed in range(runs):
        drawn = campaign(seed, lift)
        for name, true in truth.items():
            found = effect(drawn, name)
            covered[name] += found.low <= true <= found.high
    return {name: number / runs for name, number in covered.items()}


def false_calls(runs: int) -> dict[str, float]:
    """How often a difference is called where there is none.

    At the end; on any day by mSPRT; on any day by the end's interval.
    """
    called = {"end": 0, "looking": 0, "naive": 0}
    for seed in range(runs):
        drawn = campaign(100_000 + seed, 0.0)
        at_end = effect(drawn, "orders")
        called["end"] += not at_end.low <= 0 <= at_end.high
        found = running_effect(
            drawn.orders, drawn.orders_before, drawn.treated, window_days=DAYS, tau=TAU
        )
        called["looking"] += found.p_value is not None and found.p_value < 0.05
        if seed < runs // 4:  # the naive rate is only for comparison
            called["naive"] += _naive(drawn)
    return {
        "end": called["end"] / runs,
        "looking": called["looking"] / runs,
        "naive": called["naive"] / max(runs // 4, 1),
    }


def _naive(drawn: Campaign) -> bool:
    totals = np.cumsum(drawn.orders, axis=1)
    looks = (
        difference(
            totals[drawn.treated, day],
            totals[~drawn.treated, day],
            drawn.orders_before[drawn.treated],
            drawn.orders_before[~drawn.treated],
        )
        for day in range(3, DAYS)
    )
    return any(not look.low <= 0 <= look.high for look in looks)


def detected(runs: int, lift: float = 0.4) -> dict[str, float]:
    """How often a real effect is seen: at the end, and by mSPRT on any day before it is over."""
    seen = {"end": 0, "looking": 0}
    for seed in range(runs):
        drawn = campaign(200_000 + seed, lift)
        seen["end"] += effect(drawn, "orders").low > 0
        found = running_effect(
            drawn.orders, drawn.orders_before, drawn.treated, window_days=DAYS, tau=TAU
        )
        seen["looking"] += found.p_value is not None and found.p_value < 0.05
    return {name: number / runs for name, number in seen.items()}


def cuped(runs: int, lift: float = 0.08) -> dict[str, float]:
    """Variance of the estimates with CUPED ÷ without, over the runs, and the predicted 1 − ρ²."""
    pairs = []
    for seed in range(runs):
        drawn = campaign(300_000 + seed, lift)
        pairs.append([effect(drawn, "orders", cuped=on).per_customer for on in (True, False)])
    with_, without = np.var(np.array(pairs), axis=0)
    large = campaign(400_000, lift, customers=400_000, days=1)
    arms = [
        np.corrcoef(large.orders[arm].sum(axis=1), large.orders_before[arm])[0, 1] ** 2
        for arm in (large.treated, ~large.treated)
    ]
    return {
        "measured": float(with_ / without),
        "predicted": float(1 - (1 - HOLDOUT) * arms[1] - HOLDOUT * arms[0]),
    }


# ---------------------------------------------------------------- targeting


@dataclass(frozen=True, slots=True)
class Customers:
    """What a shop sees of its customers, and what only the generator knows.

    That is P(order) without an offer, and uplift.
    """

    features: pd.DataFrame
    value: np.ndarray
    stays: np.ndarray
    uplift: np.ndarray


def customers(rng: np.random.Generator, number: int, lapsing: float) -> Customers:
    """Draw customers: who likes offers, or coffee, is easily moved, gifts are not.

    ``lapsing`` is how much easier (harder, below 0) a customer is to move for each day since the
    last order: whether risk is persuadability is the shop's secret.
    """
    recency = rng.gamma(2.0, 20.0, number)
    frequency = 1 + rng.poisson(3.0, number)
    offers = rng.beta(1.5, 3.0, number)
    category = rng.choice(["coffee", "tea", "gifts"], number, p=[0.4, 0.35, 0.25])
    value = rng.gamma(4.0, 12.0, number)
    stays = expit(0.6 - 0.025 * recency + 0.12 * (frequency - 4))
    leaning = (
        3.0 * (offers - 0.33)
        + 0.8 * (category == "coffee")
        - 0.6 * (category == "gifts")
        + lapsing * (recency - 40)
    )
    uplift = expit(logit_of(stays) + np.maximum(0.35 + 0.65 * leaning, 0)) - stays
    table = pd.DataFrame(
        {
            "recency": recency,
            "frequency": frequency,
            "offers": offers,
            "category": category,
            "spend": value,
        }
    )
    return Customers(table, value, stays, uplift)


def logit_of(share: np.ndarray) -> np.ndarray:
    """log(p / (1 − p))."""
    return np.log(share) - np.log1p(-share)


def past(rng: np.random.Generator, number: int, lapsing: float, holdout: float = 0.2) -> Experiment:
    """A past campaign with a hold-out: what the next uplift model learns from."""
    people = customers(rng, number, lapsing)
    treated = (rng.random(number) >= holdout).astype(float)
    ordered = (rng.random(number) < people.stays + treated * people.uplift).astype(float)
    return Experiment(people.features, ordered, treated, 1 - holdout)


FIRST = (
    (600, 0.2),
    (1500, 0.15),
    (3000, 0.1),
)  # customers of a first campaign, and the share held out
NOISE = 15  # columns that say nothing


def first(seed: int, moderated: bool) -> Experiment:
    """Draw a first campaign of one of the sizes of `FIRST`.

    Unless ``moderated``, the offer does the same for everybody.
    """
    rng = np.random.default_rng([SEED, 600_000 + seed])
    number, holdout = FIRST[seed % len(FIRST)]
    people = customers(rng, number, rng.uniform(-STEEPEST, STEEPEST))
    uplift = people.uplift if moderated else np.minimum(people.uplift.mean(), 1 - people.stays)
    treated = (rng.permutation(number) >= round(holdout * number)).astype(float)
    ordered = (rng.random(number) < people.stays + treated * uplift).astype(float)
    noise = pd.DataFrame(
        rng.lognormal(size=(number, NOISE)), columns=[f"noise_{n}" for n in range(NOISE)]
    )
    return Experiment(people.features.join(noise), ordered, treated, 1 - holdout)


def learnable(runs: int, moderated: bool) -> dict[int, list[RankingGain]]:
    """Customers of a first campaign → what ranking them by uplift gained, a run each."""
    found: dict[int, list[RankingGain]] = {number: [] for number, _ in FIRST}
    for seed in range(runs):
        trial = first(seed, moderated)
        found[len(trial.outcome)].append(sequential_gain(trial))
    return found


OFFER = {"redemption": 0.8, "contact": 0.3}
MARGIN, DISCOUNT = 0.35, 0.10  # of the sale
STEEPEST = (
    0.02  # of log-odds a day: how far a shop's risk can go along with, or against, persuadability
)
LEARNT_FROM = 12_000


def targeting(
    runs: int, learner: str | None = None, learnt_from: int = LEARNT_FROM, audience: int = 2000
) -> dict[str, object]:
    """Compare the true profit of targeting by expected profit and by risk × value.

    Both have the same budget and are held against the oracle's profit. Without a ``learner``, the
    one that cross-validation selects on the first past campaign is used throughout.
    """
    learner = learner or selected(learnt_from)
    earned = np.array([_targeted(seed, learner, learnt_from, audience) for seed in range(runs)])
    by_profit, by_risk, oracle = earned.T
    return {
        "learner": learner,
        "beats_risk": float((by_profit > by_risk).mean()),
        "of_oracle": float(by_profit.sum() / oracle.sum()),
        "worst_tenth": float(np.quantile(by_profit / oracle, 0.1)),
        "risk_of_oracle": float(by_risk.sum() / oracle.sum()),
    }


def selected(learnt_from: int) -> str:
    """The product's own choice of learner, on one past campaign."""
    return select_learner(past(np.random.default_rng([SEED, 1]), learnt_from, 0.0))[0]


def _targeted(
    seed: int, learner: str, learnt_from: int, audience: int
) -> tuple[float, float, float]:
    rng = np.random.default_rng([SEED, 500_000 + seed])
    lapsing = rng.uniform(-STEEPEST, STEEPEST)
    trial, people = past(rng, learnt_from, lapsing), customers(rng, audience, lapsing)
    learnt = (trial.features, trial.outcome, trial.treated, trial.propensity)
    uplift = LEARNERS[learner]().fit(*learnt).predict(people.features)
    stays = -RiskBaseline().fit(*learnt).predict(people.features)
    costs = {"discount": DISCOUNT * people.value, **OFFER}
    true_profit = incremental_profit(
        people.stays, people.uplift, people.value, margin=MARGIN, **costs
    )
    true_cost = expected_cost(people.stays, people.uplift, **costs)
    budget = 0.25 * float(true_cost.sum())

    def spent(profit: np.ndarray, cost: np.ndarray) -> float:
        chosen = allocate_offers(profit[:, None], [Limit(cost[:, None], budget)]).offer == 0
        return float(true_profit[chosen].sum())

    cost = expected_cost(stays, uplift, **costs)
    by_profit = spent(incremental_profit(stays, uplift, people.value, margin=MARGIN, **costs), cost)
    at_stake = np.argsort(-(1 - stays) * people.value)
    afforded = at_stake[np.cumsum(cost[at_stake]) <= budget]
    return by_profit, float(true_profit[afforded].sum()), spent(true_profit, true_cost)


# ---------------------------------------------------------------- the table


def rows(runs: int) -> Iterator[tuple[str, str, str, bool]]:
    """What was simulated, what is asked, what came out, and whether it holds."""
    covered = coverage(runs)
    for name, share in covered.items():
        yield (
            f"95 % interval of {name} covers the true effect",
            "94–96 %",
            f"{share:.1%}",
            0.94 <= share <= 0.96,
        )
    called = false_calls(runs)
    yield (
        "A/A: a difference called at the fixed end",
        "≤ 6 %",
        f"{called['end']:.1%}",
        called["end"] <= 0.06,
    )
    yield (
        f"A/A: called on any of {DAYS} daily looks, mSPRT",
        "≤ 5 %",
        f"{called['looking']:.1%} (looking daily at the fixed interval: {called['naive']:.0%})",
        called["looking"] <= 0.05,
    )
    seen = detected(max(runs // 10, 1))
    yield (
        "A true effect of .4 orders is seen: at the end; by mSPRT on the way",
        "no less than half as often",
        f"{seen['end']:.0%}; {seen['looking']:.0%}",
        seen["looking"] >= seen["end"] / 2,
    )
    shrunk = cuped(runs)
    close = abs(shrunk["measured"] / shrunk["predicted"] - 1) <= 3 * np.sqrt(
        4 / runs * (1 - shrunk["predicted"])
    )
    yield (
        "CUPED: variance of the estimates, with ÷ without",
        f"1 − ρ² = {shrunk['predicted']:.3f}",
        f"{shrunk['measured']:.3f}",
        bool(close),
    )
    found = targeting(runs)
    yield (
        "Targeting by profit earns more than by risk × value, same budget",
        "≥ 95 % of runs",
        f"{found['beats_risk']:.1%} (risk reaches {found['risk_of_oracle']:.0%} of the oracle)",
        found["beats_risk"] >= 0.95,
    )
    yield (
        f"… and of the oracle's profit reaches ({str(found['learner']).replace('_', ' ')}, "
        f"learnt from {LEARNT_FROM:,})",
        "≥ 90 %",
        f"{found['of_oracle']:.1%} (a tenth of the runs below {found['worst_tenth']:.0%})",
        found["of_oracle"] >= 0.90,
    )
    faint = targeting(max(runs // 10, 1), str(found["learner"]), learnt_from=1500)
    yield (
        "… learnt from 1,500, too few to learn from",
        "(nothing)",
        f"{faint['of_oracle']:.1%}, more than risk in {faint['beats_risk']:.0%}",
        True,
    )


def main(runs: int = CAMPAIGNS) -> int:
    """Simulate, print the table, and put it into the page if it is a full one.

    Returns 1 if a row does not hold.
    """
    started = perf_counter()
    made = list(rows(runs))
    lines = ["| over simulated campaigns | asked | measured |", "| --- | --- | --- |"]
    lines += [
        f"| {what} | {asked} | {told}{'' if holds else ' **(missed)**'} |"
        for what, asked, told, holds in made
    ]
    lines += [
        "",
        f"{runs:,} campaigns of each kind, seed {SEED}, {CUSTOMERS:,} customers "
        f"with {HOLDOUT:.0%} held out.",
    ]
    table = "\n".join(lines)
    print(table, f"\n{perf_counter() - started:.0f} s")
    if runs >= CAMPAIGNS:
        page = PAGE.read_text(encoding="utf-8")
        fresh = re.sub(
            r"(?s)(<!-- simulate -->\n).*?(<!-- /simulate -->)",
            lambda m: f"{m[1]}{table}\n{m[2]}",
            page,
        )
        PAGE.write_text(fresh, encoding="utf-8")
    return int(not all(holds for *_, holds in made))


if __name__ == "__main__":
    sys.exit(main(*(int(word) for word in sys.argv[1:2])))
