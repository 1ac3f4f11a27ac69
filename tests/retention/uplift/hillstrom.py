"""Simulate an e-mail experiment like Hillstrom's: three arms and a known uplift per customer.

Rates follow published figures: visits 10.6% without an e-mail, 15.1% with the women's and 18.3%
with the men's; purchases .57, .88 and 1.25%. The women's e-mail works on buyers of women's goods,
the men's on nearly all customers.
"""

from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit

ARMS = ("No E-Mail", "Womens E-Mail", "Mens E-Mail")
FEATURES = (
    *("recency", "history_segment", "history", "mens", "womens"),
    *("zip_code", "newbie", "channel"),
)
_SEGMENTS = (100, 200, 350, 500, 750, 1000)


def hillstrom(customers: int = 64_000, seed: int = 0) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    """Return the table, and P(visit) of each customer under each arm."""
    rng = np.random.default_rng(seed)
    mens = rng.binomial(1, 0.55, customers)
    womens = np.where(mens == 1, rng.binomial(1, 0.18, customers), 1)
    recency = rng.integers(1, 13, customers)
    newbie = rng.binomial(1, 0.5, customers)
    history = np.maximum(
        29.99, rng.lognormal(4.9 + 0.35 * mens * womens + 0.3 * (1 - newbie), 0.95, customers)
    ).round(2)
    zip_code = rng.choice(["Surburban", "Urban", "Rural"], customers, p=[0.45, 0.40, 0.15])
    channel = rng.choice(["Web", "Phone", "Multichannel"], customers, p=[0.44, 0.44, 0.12])
    base_logit = (
        -2.3
        - 0.07 * (recency - 5.8)
        - 0.5 * (newbie - 0.5)
        + 0.15 * np.log(history / 150)
        + 0.35 * (zip_code == "Rural")
        + 0.25 * (channel == "Multichannel")
        + 0.3 * mens * womens
    )
    lift = {
        ARMS[0]: np.zeros(customers),
        ARMS[1]: 0.08 + 0.62 * womens,
        ARMS[2]: 0.62 + 0.06 * mens - 0.01 * (recency - 5.8),
    }
    probability = {arm: expit(base_logit + lift[arm]) for arm in ARMS}
    segment = rng.choice(ARMS, customers)
    visits = np.choose(
        np.searchsorted(sorted(ARMS), segment), [probability[arm] for arm in sorted(ARMS)]
    )
    visit = rng.binomial(1, visits)
    # of visitors
    purchase_rate = np.select([segment == arm for arm in ARMS], [0.054, 0.058, 0.068])
    conversion = visit * rng.binomial(1, purchase_rate)
    bins = np.searchsorted(_SEGMENTS, history)
    return pd.DataFrame(
        {
            "recency": recency,
            "history_segment": np.char.add("segment ", bins.astype(str)),
            "history": history,
            "mens": mens,
            "womens": womens,
            "zip_code": zip_code,
            "newbie": newbie,
            "channel": channel,
            "segment": segment,
            "visit": visit,
            "conversion": conversion,
            "spend": conversion * rng.gamma(4.0, 29.0, customers).round(2),
        }
    ), probability


def against(arm: str | None, **options: Any) -> tuple[pd.DataFrame, np.ndarray]:
    """Compare one arm (or any e-mail) with no e-mail; return the table and the uplift.

    The table has a binary ``treated``.
    """
    table, probability = hillstrom(**options)
    keep = (table["segment"].isin([ARMS[0], arm]) if arm else table["segment"].notna()).to_numpy()
    p_treated = probability[arm] if arm else (probability[ARMS[1]] + probability[ARMS[2]]) / 2
    compared = (
        table[keep].assign(treated=(table["segment"] != ARMS[0]).astype(int)).reset_index(drop=True)
    )
    return compared, (p_treated - probability[ARMS[0]])[keep]
