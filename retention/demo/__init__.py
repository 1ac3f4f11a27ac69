"""Import the demo's shop, the Complete Journey, by week.

It is a real year of 2,469 households.
"""

from retention.demo.journey import ATTRIBUTION, START, feed, import_whole_year, prepare

__all__ = ["ATTRIBUTION", "START", "feed", "import_whole_year", "prepare"]
