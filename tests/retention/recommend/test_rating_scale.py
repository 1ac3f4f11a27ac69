"""Rating weights do not depend on the shop's scale."""

from datetime import UTC, datetime, timedelta

import pytest

from retention.recommend.history import UNRATED, RatingScale, rating_scale
from retention.recommend.preference_profile import preference_profile
from tests.retention.recommend.small_shop import Line, make_shop, preferences

NOW = datetime(2025, 6, 1, tzinfo=UTC)


@pytest.mark.nightly_after(5)
@pytest.mark.parametrize(
    ("ratings", "expected"),
    [
        ((1, 3, 5), RatingScale(1, 5)),
        ((2, 4), RatingScale(1, 5)),
        ((), RatingScale(1, 5)),
        ((1, 5, 10), RatingScale(1, 10)),
        ((0, 50, 100), RatingScale(0, 100)),
        ((0, 1, 1), RatingScale(0, 1)),
        ((-1, 1), RatingScale(-1, 1)),
        ((*(1, 2, 3, 4, 5) * 60, 50), RatingScale(1, 5)),
        ((1,) * 30, RatingScale(0, 1)),
        ((*(1,) * 150, 0), RatingScale(0, 1)),
        ((1, 1), RatingScale(1, 5)),
    ],
)
def test_scale_is_inferred_from_ratings(tmp_path, ratings, expected):
    lines = [("c", "purchase", NOW - timedelta(days=400), "a", {"rating": None})]
    lines += [
        (f"c{at}", "review", NOW - timedelta(days=1 + at / 100), "a", {"rating": float(rating)})
        for at, rating in enumerate(ratings)
    ]
    shop = make_shop(tmp_path, lines, [("a", "Kettle", "", 9.0)])
    assert rating_scale(shop.lake, NOW) == expected
    # What comes later is not known yet.
    assert rating_scale(shop.lake, NOW - timedelta(days=100)) == RatingScale()


def review(who: str, item: str, rating: float | None) -> Line:
    return who, "review", NOW - timedelta(days=1), item, {"rating": rating}


ITEMS = [("tea", "Tea", "Teas", 9.0), ("soap", "Soap", "Soaps", 9.0)]


@pytest.mark.parametrize("scores", [(1, 5), (1, 10), (0, 100), (0, 1)])
def test_worst_rating_is_negative_and_best_positive_on_every_scale(tmp_path, scores):
    """A thumb up weighed less than nothing, and 4 of 10 more than most purchases."""
    worst, best = map(float, scores)
    lines = [
        line for who in "xy" for line in (review(who, "tea", worst), review(who, "soap", best))
    ]
    shop = make_shop(tmp_path, lines, ITEMS)
    decayed = preferences(shop.lake, NOW, ["x"]).set_index("item_id")["decayed_90"]
    assert decayed["tea"] == pytest.approx(-1, rel=0.02)
    assert decayed["soap"] == pytest.approx(1, rel=0.02)
    assert preference_profile(shop.lake, "x", NOW)["summary"] == "mostly Soaps, not Teas"


def test_mistyped_rating_is_clipped_to_the_best(tmp_path):
    """A 50 on a scale of five stars weighed as much as 24 purchases."""
    lines = [review(f"c{at}", "tea", at % 5 + 1.0) for at in range(200)]
    lines += [review("x", "tea", 50.0), review("x", "soap", None)]
    shop = make_shop(tmp_path, lines, ITEMS)
    decayed = preferences(shop.lake, NOW, ["x"]).set_index("item_id")["decayed_90"]
    assert decayed["tea"] == pytest.approx(1, rel=0.02)
    assert decayed["soap"] == pytest.approx(UNRATED, rel=0.02)
    main = preference_profile(shop.lake, "x", NOW)["categories"][0]
    assert main["share"] == pytest.approx(0.8, rel=0.02)
