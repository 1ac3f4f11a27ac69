"""Import the demo's shop, the Complete Journey, by week.

It is a real year of 2,469 households. Names load when they are used: the workers that only show
messages need the stated effect, and not the lake.
"""

from datetime import UTC, datetime
from typing import Any

from retention.settings import Settings

__all__ = ["ATTRIBUTION", "START", "feed", "import_whole_year", "prepare"]

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


def __getattr__(name: str) -> Any:
    if name in __all__:
        from retention.demo import journey

        return getattr(journey, name)
    raise AttributeError(name)
