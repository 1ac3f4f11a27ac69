"""The demo's shop: the Complete Journey, a real year of 2,469 households, imported week by week."""

from retention.demo.journey import ATTRIBUTION, START, feed, import_whole_year, prepare

__all__ = ["ATTRIBUTION", "START", "feed", "import_whole_year", "prepare"]
