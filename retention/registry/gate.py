"""Rules for promoting a challenger churn model.

Recipes are evaluated on up to three origins, one horizon apart, each with a model trained on
earlier data. Every challenger must

- be calibrated: ECE ≤ .05, slope of the calibration line within .8 … 1.2;
- fit its population: PSI of the scores < .25;
- beat recency, RFM logistic regression and BG/NBD on log-loss.

Further rules depend on the challenger:

- Another recipe (estimator or features) must be better. On at least three origins, the 95%
  interval of the paired log-loss difference, bootstrapped by customer, lies below 0. The lift of
  the top tenth is at most 2% worse.
- The same recipe on newer data must not be significantly worse on origins newer than the
  champion's training, if there are any. Its calibration and drift faults are also the champion's.
- A fault that the champion shares is reported but not binding: keeping the worse or older model
  would not fix it.
- The first model is always used, and so is a replacement for one with features that are no longer
  computed. The alternative is rules. A model for another definition of churn is the first of its
  line: nobody changes the definition by accident, and the two predict different things. Failed
  checks are reported.

ECE, slope and PSI of few customers exceed their limits by chance. A check fails only beyond chance
(one in twenty).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit

from retention.churn import drift
from retention.churn.evaluation.classification_metrics import ece
from retention.churn.evaluation.uncertainty import Interval
from retention.templating import count
from retention.text import gettext

ORIGINS, MAX_ECE, SLOPE_RANGE, MAX_LIFT_LOSS = 3, 0.05, (0.8, 1.2), 0.02
RECIPE_CHECKS = ("ece", "slope", "psi")  # depend on the recipe, not on its training data


@dataclass(frozen=True, slots=True)
class Check:
    """One condition of the gate."""

    name: str
    passed: bool
    text: str


def calibration_line(churned: np.ndarray, probability: np.ndarray) -> tuple[float, float]:
    """Fit the logistic line of outcomes on log-odds.

    Returns: a slope of 1 is calibrated.

    References
    ----------
    Cox (1958), Two Further Applications of a Model for Binary Regression, Biometrika 45.
    """
    x = logit(np.clip(probability, 1e-6, 1 - 1e-6))
    design = np.column_stack([np.ones(len(x)), x])
    weights, information = np.zeros(2), np.eye(2)  # Newton converges from here
    for _ in range(50):
        fitted = expit(design @ weights)
        information = (design * (fitted * (1 - fitted))[:, None]).T @ design + 1e-9 * np.eye(2)
        step = np.linalg.solve(information, design.T @ (churned - fitted))
        weights = weights + step
        if np.abs(step).max() < 1e-9:
            break
    return float(weights[1]), float(np.sqrt(np.linalg.inv(information)[1, 1]))


def check_calibration(
    churned: np.ndarray, probability: np.ndarray, seed: int = 0
) -> tuple[Check, Check]:
    """Check ECE and slope, each beyond chance."""
    error = ece(churned, probability)
    rng = np.random.default_rng(seed)
    by_chance = [
        ece((rng.random(len(probability)) < probability).astype(float), probability)
        for _ in range(200)
    ]
    limit = max(MAX_ECE, float(np.quantile(by_chance, 0.95)))
    slope, sd = calibration_line(churned, probability)
    (low, high), margin = SLOPE_RANGE, 1.96 * sd
    text = gettext("calibration error {error:.3f}, limit {limit:.3f}")
    of_slope = gettext("calibration slope {slope:.2f} ± {margin:.2f}, must reach {low} to {high}")
    return (
        Check("ece", error <= limit, text.format(error=error, limit=limit)),
        Check(
            "slope",
            slope + margin >= low and slope - margin <= high,
            of_slope.format(slope=slope, margin=margin, low=low, high=high),
        ),
    )


def check_population(before: np.ndarray, now: np.ndarray) -> Check:
    """Check that scores are distributed as before.

    `before`, `now`: earlier and newest scores.
    """
    profile = drift.profile(before)
    psi, limit = drift.profile_psi(profile, now), drift.psi_limit(profile, len(now))
    text = gettext("change of the scores {psi:.3f}, limit {limit:.2f}").format(psi=psi, limit=limit)
    return Check("psi", psi < limit, text)


def check_baselines(loss: float, baselines: dict[str, float]) -> Check:
    """Check the log-loss against every baseline."""
    name, best = min(baselines.items(), key=lambda pair: pair[1])
    # No level: it is pooled over the origins, and the message shows that of the newest.
    if loss < best:
        text = gettext("log-loss {difference:.4f} below that of the best baseline ({name})")
    else:
        text = gettext("log-loss {difference:.4f} above that of the best baseline ({name})")
    return Check("baselines", loss < best, text.format(difference=abs(loss - best), name=name))


def check_better(difference: Interval, origins: int, needed: int = ORIGINS) -> Check:
    """Check that another recipe is significantly better.

    `difference`: log-loss minus the champion's.
    """
    if origins < needed:
        text = gettext(
            "only {origins} of the {needed} origins that a comparison needs can be judged"
        )
        return Check("log_loss", False, text.format(origins=origins, needed=needed))
    text = gettext(
        "log-loss {difference} against the champion's on {origins} origins, the interval must "
        "lie below 0"
    )
    text = text.format(difference=difference, origins=origins)
    return Check("log_loss", difference.high < 0, text)


def check_not_worse(difference: Interval, origins: int) -> Check:
    """Check that a retrained recipe is not worse.

    Only a significant loss fails.

    `difference`: log-loss minus the champion's.
    """
    text = gettext(
        "log-loss {difference} against the champion's on {origins} it had not seen, the "
        "interval must not lie above 0"
    )
    text = text.format(difference=difference, origins=count(origins, "origin"))
    return Check("log_loss", difference.low <= 0, text)


def check_lift(new: Sequence[float], old: Sequence[float]) -> Check:
    """Check that the mean lift is at most 2% worse."""
    now, before = float(np.mean(new)), float(np.mean(old))
    text = gettext("lift of the top tenth {now:.2f} against {before:.2f}, at most 2% less")
    is_as_good = now >= (1 - MAX_LIFT_LOSS) * before
    return Check("lift", is_as_good, text.format(now=now, before=before))
