"""Simulate shops whose offers have known effects, and customers of their tests."""

from dataclasses import dataclass, replace

import numpy as np

from retention.campaigns.learning.chances import best_chances, combine
from retention.campaigns.learning.offer_rule import OWN, OfferLog, cross_fit, learn_rule

DISCOUNTS = (0.0, 0.15, 0.10, 0.20)  # of the hold-out group, A, B and C
MARGIN, REDEMPTION, CONTACT, HOLDOUT = 0.4, 0.6, 0.02, 0.15
TESTS = 3


@dataclass(frozen=True)
class Shop:
    """A shop: customers per test, and the lift of P(order) by group and arm."""

    seed: int
    customers: int
    lifts: np.ndarray
    has_effect: bool

    @property
    def arms(self) -> int:
        return self.lifts.shape[1]


@dataclass(frozen=True)
class MadeUpTest:
    """Customers of one test: the log, and the expected profit of each arm (n, arms)."""

    log: OfferLog
    truth: np.ndarray

    def value(self, target: np.ndarray) -> float:
        """The true incremental profit of a rule per customer for whom it chooses an arm."""
        rows = target.any(axis=1)
        each = (target * self.truth).sum(axis=1) - self.truth[:, 0]
        return float(each[rows].mean())


def made_up_shop(seed: int, *, has_effect: bool) -> Shop:
    """Draw a shop. Without an effect, all of its offers earn the same in every group."""
    rng = np.random.default_rng([35, seed])
    groups, arms = int(rng.integers(1, 6)), int(rng.integers(3, 5))
    customers = int(np.exp(rng.uniform(np.log(2_500), np.log(10_000))))
    common = np.concatenate([[0.0], rng.uniform(0.0, 0.12, arms - 1)])
    lifts = common + np.where(common > 0, rng.normal(0, 0.02, (groups, arms)), 0.0)
    if not has_effect:
        lifts = np.where(np.arange(arms) > 0, rng.uniform(0.0, 0.1), 0.0) * np.ones((groups, 1))
    return Shop(seed, customers, lifts, has_effect)


def made_up_test(shop: Shop, number: int, chances: np.ndarray | None = None) -> MadeUpTest:
    """Draw the customers of a test.

    `chances`: of the offers, by group; None for an even draw.
    """
    rng = np.random.default_rng([36, shop.seed, number, int(shop.has_effect)])
    n, (groups, arms) = shop.customers, shop.lifts.shape
    group = rng.choice(groups, n, p=rng.dirichlet(np.full(groups, 3.0)))
    rate = rng.beta(2.0, 8.0 + 2 * group)  # P(order) without an offer
    spend = np.exp(rng.normal(3.6, 0.7, n))  # mean of a customer's orders
    ordered = np.clip(rate[:, None] + shop.lifts[group], 0, 1)
    # Without an effect, offers differ by name only: each costs what A costs.
    discount = np.array(DISCOUNTS[:arms])
    if not shop.has_effect:
        discount = np.where(np.arange(arms) > 0, DISCOUNTS[OWN], 0.0)
    earned = spend[:, None] * (MARGIN - discount * REDEMPTION)
    truth = ordered * earned - CONTACT * (np.arange(arms) > 0)
    even = np.full((groups, arms - 1), 1 / (arms - 1))
    by_group = (even if chances is None else chances)[group]
    probability = np.hstack([np.full((n, 1), HOLDOUT), (1 - HOLDOUT) * by_group])
    taken = (rng.random((n, 1)) > probability.cumsum(axis=1)[:, :-1]).sum(axis=1)
    rows = np.arange(n)
    bought = rng.random(n) < ordered[rows, taken]
    noise = np.exp(rng.normal(-0.32, 0.8, n))  # of one order; its mean is 1
    profit = bought * earned[rows, taken] * noise - CONTACT * (taken > 0)
    before = rng.poisson(4 * rate) * spend * MARGIN
    log = OfferLog(
        customers=np.array([f"s{shop.seed}-{number}-{row}" for row in rows]),
        groups=np.array([f"Rule {one}" for one in group]),
        taken=taken,
        chances=probability,
        profit=profit,
        bought=bought,
        features=np.column_stack([1 - rate, np.log1p(spend), before]),
        is_new=np.ones(n, bool),
    )
    return MadeUpTest(log, truth)


def pooled(tests: list[MadeUpTest]) -> MadeUpTest:
    """Put tests together; the last one is the newest."""
    logs = [replace(one.log, is_new=one.log.is_new & (one is tests[-1])) for one in tests]
    fields = OfferLog.__dataclass_fields__
    log = OfferLog(*(np.concatenate([getattr(one, name) for one in logs]) for name in fields))
    return MadeUpTest(log, np.concatenate([one.truth for one in tests]))


@dataclass
class Run:
    """What happened in the tests of one shop."""

    covered: dict[str, list[bool]]
    regret: dict[str, list[float]]
    proposed: bool = False
    is_worse: bool = False


def run_shop(shop: Shop, *, explore: float, tests: int = TESTS) -> Run:
    """Run a shop's tests one after the other; each learns from those before."""
    run = Run({}, {})
    done: list[MadeUpTest] = []
    groups, arms = shop.lifts.shape
    evidence: list[dict] = []
    chances = np.full((groups, arms - 1), 1 / (arms - 1))
    always = np.eye(arms)
    for number in range(tests):
        test = made_up_test(shop, number, chances)
        own = test.log.chances.copy()
        own[:, 0] = 0
        own /= own.sum(axis=1, keepdims=True)
        fixed = [test.value(np.tile(always[arm], (len(own), 1))) for arm in range(arms)]
        best = max(fixed[OWN:])
        even = np.tile(np.where(np.arange(arms) > 0, 1 / (arms - 1), 0.0), (len(own), 1))
        run.regret.setdefault("learning", []).append(best - test.value(own))
        run.regret.setdefault("even", []).append(best - test.value(even))
        run.regret.setdefault("always A", []).append(best - fixed[OWN])
        done.append(test)
        together = pooled(done)
        learned = learn_rule(together.log, number)
        if learned is None:
            continue
        by_group = [learned.chosen.get(name, OWN) for name in test.log.groups]
        run.regret.setdefault("rule", []).append(best - test.value(always[by_group]))
        _, _, target = cross_fit(together.log)
        rules = [np.tile(always[arm], (len(target), 1)) for arm in range(1, arms)]
        for chosen, value in zip([*rules, target], [*learned.arms, learned.learned], strict=True):
            truth = together.value(chosen)
            kind = "learned" if chosen is target else "always"
            for name in ("ips", "dr"):
                one = getattr(value, name)
                run.covered.setdefault(f"{name} {kind}", []).append(one.low <= truth <= one.high)
        if learned.is_better and not run.proposed:
            run.proposed = True
            run.is_worse = test.value(always[by_group]) <= fixed[OWN]
        evidence += [
            {"group": one.group, "discount": one.arm, "value": one.value, "error": one.error}
            for one in learned.groups
        ]
        known = combine(evidence)
        for group in range(groups):
            results = [known.get((f"Rule {group}", arm)) for arm in range(1, arms)]
            if all(results) and explore < 1:
                chances[group] = best_chances(results, explore)
    return run
