"""State the simulated effect of the demo's campaigns.

Every message with a figure of a campaign shows it.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Effect:
    """The simulated effect, as shares of the treatment group.

    An extra visit repeats one of the customer's own baskets.
    """

    visits_with_coupon: float = 0.7  # make an extra visit
    visits_with_reminder: float = 0.4  # or another offer without a code
    redeem_extra: float = 0.8  # share of extra visits with the coupon
    redeem_real: float = 0.15  # use the coupon in a visit that happens anyway
    days: float = 21.0  # latest day of the extra visit


EFFECT = Effect()
