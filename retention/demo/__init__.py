"""The demo: a shop's data, its beginning, and the simulated effect of its campaigns.

The shop is the Complete Journey, a real year of 2,469 households (`retention.demo.journey`). Every
message with a figure of a campaign shows the effect. Workers that only show messages need it, and
not the lake: this module imports neither.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

from retention.settings import Settings

ATTRIBUTION = (
    "The shop's data is the Complete Journey by 84.51° (dunnhumby): a real year of purchases of "
    "2,469 households, for educational use. Consent, contact details, prices, margins and stock "
    "are assumed; answers to campaigns are simulated."
)
START = datetime(2017, 10, 2, 13, tzinfo=UTC)  # Monday, 9 am in New York
SHOP_ORDER = "shop-"  # begins the order ids of the fake shop; those of the real orders are numbers

PLAYGROUND = "playground.db"  # the fake Slack's file in the home of a demo


def is_demo_home(settings: Settings) -> bool:
    """Return whether the home is a demo's; a variable of the environment could claim it of any."""
    return (settings.home / PLAYGROUND).is_file()


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
    opens: float = 0.45  # share of tracked e-mails that people open
    clicks: float = 0.3  # share of opened e-mails with a click
    preloads: float = 0.2  # share of tracked e-mails whose pictures a mail program loads ahead


EFFECT = Effect()
