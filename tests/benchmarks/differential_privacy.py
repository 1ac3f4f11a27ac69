"""Measure what privacy costs a churn model, and what an attack learns; prints the page's tables.

    python -m tests.benchmarks.differential_privacy [price] [attack] [tuning]

Needs the extra ``privacy``; all but the tuning cutoffs when none is named. Look at the reported
cutoffs to report, never to choose.
"""

import sys
from collections.abc import Iterator, Sequence
from math import exp, inf

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from retention.churn import private
from retention.churn.evaluation.classification_metrics import metrics
from retention.churn.evaluation.uncertainty import log_losses
from retention.churn.snapshots import Snapshot, take_snapshot
from retention.churn.training_set import TrainingSet, build_training_set
from retention.lake import Lake
from retention.privacy import descent
from retention.window import DEFAULT
from tests.benchmarks.accuracy import REPORTED, TUNING, _moment
from tests.benchmarks.measure import settings
from tests.benchmarks.models import home

EPSILONS = (0.5, 1.0, 2.0, 8.0)
DRAWS = 20  # of the noise, of each cutoff
MEMBERS, ROUNDS = 100, 200  # customers of an attacked model, and models
SHADOWS = 100  # models with and without each attacked customer


def origins(cutoffs: Sequence[str]) -> Iterator[tuple[TrainingSet, Snapshot]]:
    """The Complete Journey, 28 days, active 56: what a model learns from, and what came true."""
    home()
    lake = Lake.open(settings())
    for day in cutoffs:
        training = build_training_set(lake, cutoff=_moment(day), window=DEFAULT)
        yield training, take_snapshot(lake, _moment(day), DEFAULT)


def price(cutoffs: Sequence[str]) -> None:
    """AUC and log-loss at each ε: mean over the cutoffs, and the spread of the noise alone."""
    scores: dict[float, list[list[tuple[float, float]]]] = {}
    for training, test in origins(cutoffs):
        for epsilon in (*EPSILONS, inf):
            draws = []
            for _ in range(DRAWS if epsilon < inf else 1):
                model = private.fit(training.snapshots, epsilon)
                chance = model.predict_proba(test.matrix(private.COLUMNS))[:, 1]
                told = metrics(test.labels, np.clip(chance, 5e-4, 1 - 5e-4))
                draws.append((told["auc"], told["log_loss"]))
            scores.setdefault(epsilon, []).append(draws)
    print("\n| ε | AUC | log-loss | spread of the noise (sd): AUC | log-loss |")
    print("| --- | --- | --- | --- | --- |")
    for epsilon, each in scores.items():
        table = np.array(each)  # (cutoffs, draws, 2)
        mean, spread = table.mean(axis=(0, 1)), table.std(axis=1).mean(axis=0)
        name = "no noise" if epsilon == inf else f"{epsilon:g}"
        print(f"| {name} | {mean[0]:.4f} | {mean[1]:.4f} | {spread[0]:.4f} | {spread[1]:.4f} |")


def attack() -> None:
    """Advantage (TPR − FPR) of two attacks on models of few customers.

    Yeom et al. (2018) call a customer a member whose loss is below a threshold; the best one is
    taken, which favours the attack. Carlini et al. (2022) compare the customer's log-odds with
    those of shadow models with and without the customer (likelihood ratio of two normal laws).
    """
    ((training, _),) = origins(TUNING[:1])
    newest = training.newest
    print(f"\n| model of {MEMBERS} customers | by loss | by shadow models | bound |")
    print("| --- | --- | --- | --- |")
    fits = {"unpenalised": None, "no noise": inf, **{f"ε = {each:g}": each for each in EPSILONS}}
    for name, epsilon in fits.items():
        by_loss = _advantage_by_loss(newest, epsilon)
        by_shadow = _advantage_by_shadows(newest, epsilon)
        finite = epsilon is not None and epsilon < inf
        top = (exp(epsilon) - 1 + 2 * descent.DELTA) / (exp(epsilon) + 1) if finite else 1.0
        print(f"| {name} | {by_loss} | {by_shadow} | {top:.3f} |", flush=True)


def _fit(people: Snapshot, epsilon: float | None):
    """``None``: the same features in a logistic regression without penalty."""
    if epsilon is not None:
        return private.fit([people], epsilon)
    head = LogisticRegression(C=1e6, max_iter=5_000)
    model = make_pipeline(FunctionTransformer(private.public_scale), head)
    return model.fit(people.matrix(private.COLUMNS), people.labels)


def _chances(model, people: Snapshot) -> np.ndarray:
    chance = model.predict_proba(people.matrix(private.COLUMNS))[:, 1]
    return np.clip(chance, 1e-9, 1 - 1e-9)


def _draw(people: Snapshot, rng: np.random.Generator, number: int) -> tuple[Snapshot, np.ndarray]:
    """Customers with both labels, and their places."""
    while True:
        places = rng.choice(len(people.labels), number, replace=False)
        chosen = np.zeros(len(people.labels), bool)
        chosen[places] = True
        if 0 < people.labels[chosen].sum() < number:
            return people.rows(chosen), chosen


def _advantage_by_loss(people: Snapshot, epsilon: float | None) -> str:
    rng, gaps = np.random.default_rng(1), []
    for _ in range(ROUNDS):
        both, _ = _draw(people, rng, 2 * MEMBERS)
        is_member = rng.permutation(np.repeat([True, False], MEMBERS))
        members = both.rows(is_member)
        if not 0 < members.labels.sum() < MEMBERS:
            continue
        losses = log_losses(both.labels, _chances(_fit(members, epsilon), both))
        order = np.argsort(losses)
        steps = np.where(is_member[order], 1, -1) / MEMBERS
        gaps.append(max(0.0, steps.cumsum().max()))
    # Also without any leak the best threshold of finite samples has an advantage: subtract it.
    chance = [
        max(0.0, (rng.permutation(np.repeat([1, -1], MEMBERS)) / MEMBERS).cumsum().max())
        for _ in range(2_000)
    ]
    error = 1.96 * np.std(gaps) / len(gaps) ** 0.5
    return f"{np.mean(gaps) - np.mean(chance):.3f} ± {error:.3f}"


def _advantage_by_shadows(people: Snapshot, epsilon: float | None) -> str:
    """Attack one customer, the one whose outcome the whole model finds least likely."""
    rng = np.random.default_rng(2)
    whole = private.fit([people], inf)
    target = int(log_losses(people.labels, _chances(whole, people)).argmax())
    alone = np.arange(len(people.labels)) == target
    others = people.rows(~alone)
    victim = people.rows(alone)
    outputs: dict[bool, list[float]] = {True: [], False: []}
    for number in range(4 * SHADOWS):
        rest, chosen = _draw(others, rng, MEMBERS - 1)
        is_in = number % 2 == 0
        if is_in:
            keep = np.zeros(len(people.labels), bool)
            keep[~alone] = chosen
            rest = people.rows(keep | alone)
        chance = _chances(_fit(rest, epsilon), victim)[0]
        outputs[is_in].append(np.log(chance / (1 - chance)))
    inside, outside = (np.array(outputs[each]) for each in (True, False))
    fitted = [(part[:SHADOWS].mean(), part[:SHADOWS].std() + 1e-9) for part in (inside, outside)]

    def is_called_member(values: np.ndarray) -> np.ndarray:
        laws = [-0.5 * ((values - mean) / sd) ** 2 - np.log(sd) for mean, sd in fitted]
        return laws[0] > laws[1]

    rates = [is_called_member(part[SHADOWS:]).mean() for part in (inside, outside)]
    error = 1.96 * np.sqrt(sum(rate * (1 - rate) for rate in rates) / SHADOWS)
    return f"{rates[0] - rates[1]:.3f} ± {error:.3f}"


PARTS = {"price": lambda: price(REPORTED), "attack": attack, "tuning": lambda: price(TUNING)}

if __name__ == "__main__":
    if unknown := set(sys.argv[1:]) - set(PARTS):
        sys.exit(f"There is no part {', '.join(sorted(unknown))}; choose from {', '.join(PARTS)}.")
    for part in sys.argv[1:] or ("price", "attack"):
        PARTS[part]()
