"""Import the demo's shop, the Complete Journey, by week.

It is a real year of 2,469 households. Names load when they are used: the workers that only show
messages need the stated effect, and not the lake.
"""

from typing import TYPE_CHECKING, Any

from retention.demo.facts import ATTRIBUTION, PLAYGROUND, SHOP_ORDER, START, is_demo_home

if TYPE_CHECKING:
    from retention.demo.journey import feed, import_whole_year, prepare

_LAZY = ("feed", "import_whole_year", "prepare")
__all__ = [
    "ATTRIBUTION",
    "PLAYGROUND",
    "SHOP_ORDER",
    "START",
    "feed",
    "import_whole_year",
    "is_demo_home",
    "prepare",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        from retention.demo import journey

        return getattr(journey, name)
    raise AttributeError(name)
