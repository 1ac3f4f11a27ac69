"""Whether customers can be ranked by uplift at all, in a figure that no learner's luck flatters."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import norm, rankdata
from sklearn.model_selection import StratifiedKFold

from retention.errors import TooLittleData
from retention.progress import Progress, silent
from retention.text import gettext
from retention.uplift.evaluate import effects, predicted
from retention.uplift.learners import LEARNERS, SMALLEST_CELL, check_cells
from retention.uplift.table import Experiment

PARTS = 5
TOGETHER = (
    "s_logistic",
    "risk_modelling",
)  # all columns with the offer, and the risk alone: either needs little to learn from


@dataclass(frozen=True, slots=True)
class Gain:
    """What ranking by uplift gains over a random order, with its 95 % interval.

    ``mean`` is Qini's area, not normalised: extra outcomes a customer, averaged over the shares that could be treated.
    """

    mean: float
    low: float
    high: float


def sequential(trial: Experiment, *, seed: int = 0, progress: Progress = silent) -> Gain:
    """Rank parts of an experiment one after the other, each by learners that saw the parts before it and no other.

    Two learners rank together, by the mean of their ranks: the best of several, chosen afterwards, would flatter itself.

    Raises
    ------
    TooLittleData
        Too few customers with, or without, the outcome in an arm.

    Notes
    -----
    With r the rank as a share and ψ of `effects`, the area is the mean of d = (r − ½) (ψ − ψ̄) (Yadlowsky et al. 2025,
    RATE with linear weights).
    Where nothing moderates the effect, d has mean zero given all parts before: the sums are a martingale, and Σd / √Σd²
    is standard normal (Luedtke & van der Laan 2016; Wager 2024, "Sequential Validation of Treatment Heterogeneity"). Folds
    of a cross-validation have no such order. Each one's learner has seen the outcomes of all others, so their figures
    vary together, and an interval that takes the learners as given is too narrow.
    """
    check_cells(trial.outcome, trial.treated)
    cells = (2 * trial.treated + trial.outcome).astype(int)
    part = np.empty(len(cells), int)
    split = StratifiedKFold(PARTS, shuffle=True, random_state=seed).split(cells, cells)
    for number, (_, own) in enumerate(split):
        part[own] = number
    effect, learners = effects(trial), {name: LEARNERS[name] for name in TOGETHER}
    gains = []
    for number in range(1, PARTS):
        progress(number - 1, PARTS - 1, "asking whether an offer moves some more than others")
        before, own = np.flatnonzero(part < number), np.flatnonzero(part == number)
        if np.bincount(cells[before], minlength=4).min() >= SMALLEST_CELL:
            scores = predicted(trial, learners, before, own)
            rank = rankdata(np.mean([rankdata(scores[name]) for name in TOGETHER], axis=0))
            gains.append(((rank - 0.5) / len(own) - 0.5) * (effect[own] - effect[own].mean()))
    if not gains:
        raise TooLittleData(
            gettext(
                "Too few customers with, or without, the outcome in an arm to learn from a "
                "part of them."
            )
        )
    gain = np.concatenate(gains)
    error = float(norm.ppf(0.975) * np.sqrt(gain @ gain) / len(gain))
    return Gain(float(gain.mean()), float(gain.mean()) - error, float(gain.mean()) + error)
