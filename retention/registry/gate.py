"""Champion and challenger: what a new churn model must show before it is used, and the sentence that says so.

The rule. Judged are recipes on up to three origins, one horizon apart, each by a model that learned from what was known
before it. Every challenger must be calibrated (ECE ≤ .05, slope of the calibration line within .8 … 1.2), score the
population it was made for (PSI of its scores < .25), and beat recency, RFM logistic regression and BG/NBD on log-loss.
Beyond that,

- **another recipe** (estimator or features) must be *better*: on three origins or more the 95 % interval of the paired
  log-loss difference, bootstrapped by customer, lies below 0, and the lift of the top tenth is not worse by over 2 %;
- **the same recipe on newer data** must *not be significantly worse* than the champion on the origins that the champion
  had not seen (where there is none yet, there is nothing to hold against it). A fault of calibration, or a population
  that moves, is then the recipe's and so the champion's too;
- **a fault that the champion has as well**, on the origins where it was asked, is told and does not bind: to keep the
  worse or the staler of the two would not mend it;
- **the first model**, and what takes the place of one whose features are no longer computed, is used whatever the checks
  say, for all there is without it is rules; what failed is told.

ECE, slope and PSI of few customers exceed their limits by chance; a check fails only where chance alone (one in twenty)
would not explain it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import expit, logit

from retention.churn import drift
from retention.churn.metrics import ece
from retention.churn.uncertainty import Interval

ORIGINS, ECE_MOST, SLOPE, LIFT_LOSS = 3, 0.05, (0.8, 1.2), 0.02
SHARED = ("ece", "slope", "psi")  # faults of a recipe, whatever data it learned from


@dataclass(frozen=True, slots=True)
class Check:
    """One condition: what was measured, what it had to be, and whether it was."""

    name: str
    passed: bool
    text: str

    def as_dict(self) -> dict[str, Any]:
        """For the registry and the templates."""
        return {"name": self.name, "passed": self.passed, "text": self.text}


def calibration(churned: np.ndarray, probability: np.ndarray) -> tuple[float, float]:
    """Slope of the logistic line of outcome on log-odds, and its standard error; 1 is calibrated (Cox 1958)."""
    x = logit(np.clip(probability, 1e-6, 1 - 1e-6))
    design = np.column_stack([np.ones(len(x)), x])
    weights, information = np.zeros(2), np.eye(2)  # from there Newton converges
    for _ in range(50):
        fitted = expit(design @ weights)
        information = (design * (fitted * (1 - fitted))[:, None]).T @ design + 1e-9 * np.eye(2)
        step = np.linalg.solve(information, design.T @ (churned - fitted))
        weights = weights + step
        if np.abs(step).max() < 1e-9:
            break
    return float(weights[1]), float(np.sqrt(np.linalg.inv(information)[1, 1]))


def calibrated(churned: np.ndarray, probability: np.ndarray, seed: int = 0) -> tuple[Check, Check]:
    """Whether probabilities mean what they say: ECE and slope, each beyond chance."""
    error = ece(churned, probability)
    rng = np.random.default_rng(seed)
    chance = float(
        np.quantile(
            [
                ece((rng.random(len(probability)) < probability).astype(float), probability)
                for _ in range(200)
            ],
            0.95,
        )
    )
    slope, sd = calibration(churned, probability)
    return (
        Check(
            "ece",
            error <= max(ECE_MOST, chance),
            f"ECE {error:.3f}, limit {max(ECE_MOST, chance):.3f}",
        ),
        Check(
            "slope",
            slope + 1.96 * sd >= SLOPE[0] and slope - 1.96 * sd <= SLOPE[1],
            f"calibration slope {slope:.2f} ± {1.96 * sd:.2f}, must reach {SLOPE[0]} to {SLOPE[1]}",
        ),
    )


def same_population(before: np.ndarray, now: np.ndarray) -> Check:
    """Whether the scores of the newest customers are spread like those of the ones before."""
    held = drift.profile(before)
    found, limit = drift.profile_psi(held, now), drift.psi_limit(held, len(now))
    return Check("psi", found < limit, f"PSI of the scores {found:.3f}, limit {limit:.2f}")


def beats_baselines(loss: float, baselines: dict[str, float]) -> Check:
    """Whether the mean log-loss is below that of every baseline."""
    name, best = min(baselines.items(), key=lambda pair: pair[1])
    return Check(
        "baselines",
        loss < best,
        f"log-loss {loss:.4f} against {best:.4f} of the best baseline ({name})",
    )


def better(difference: Interval, origins: int) -> Check:
    """For another recipe: better than the champion's, beyond doubt."""
    if origins < ORIGINS:
        text = f"only {origins} of the {ORIGINS} origins that a comparison needs can be judged"
        return Check("log_loss", False, text)
    return Check(
        "log_loss",
        difference.high < 0,
        f"log-loss {difference} against the champion's on {origins} origins, the interval must lie below 0",
    )


def not_worse(difference: Interval, origins: int) -> Check:
    """For the same recipe on newer data: not significantly worse than the champion."""
    return Check(
        "log_loss",
        difference.low <= 0,
        f"log-loss {difference} against the champion's on {origins} origin{'s' if origins > 1 else ''} it had not "
        "seen, the interval must not lie above 0",
    )


def lift(new: Sequence[float], old: Sequence[float]) -> Check:
    """Whether the lift of the top tenth, mean over origins, is worse by no more than 2 %."""
    now, before = float(np.mean(new)), float(np.mean(old))
    return Check(
        "lift",
        now >= (1 - LIFT_LOSS) * before,
        f"lift of the top tenth {now:.2f} against {before:.2f}, at most 2 % less",
    )
