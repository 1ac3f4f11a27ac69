"""The demo's shop: the Complete Journey, a real year of 2,469 households, imported week by week."""

from retention.demo.journey import COURTESY, START, feed, prepare, whole_year

__all__ = ["COURTESY", "START", "feed", "prepare", "whole_year"]
