"""Samples of the report pages, with every part filled in."""

from typing import Any

from tests.bot.message_samples import recorded_values, samples
from tests.bot.record_messages import PICTURE


def report_pages() -> dict[str, dict[str, Any]]:
    """Return the values of each page by the name of its template."""
    messages, recorded = samples(), recorded_values()
    line = {"name": "1", "shown": 900, "click_rate": 0.1, "corrected": 0.2, "buy_rate": 0.05}
    line |= {"buy_rate_interval": [0.03, 0.07], "redeemed": 12, "useful": 3, "wrong": 1}
    parts = {
        "slots": [line],
        "reasons": [{**line, "name": "buy_again"}],
        "models": [{**line, "name": "none"}],
        "weeks": [{**line, "name": "2017-10-02"}],
        "examined": {"1": 1.0, "2": 0.63},
        "open": 2,
    }
    chart = {"zone": "UTC", "chart": PICTURE, "alt_text": "A chart"}
    return {
        "at_risk": recorded["reports/at_risk"],
        "digest": messages["digest/details"] | chart,
        "model_card": recorded["reports/model_card"],
        "quality": messages["data/quality"] | chart,
        "recommendations": messages["report/recommend"] | parts | chart,
    }
