"""Charts: real pictures, the same each time, said in words as well."""

import struct

import pytest

from retention.reports import charts

ACTIVE = [("3 Oct", 120), ("10 Oct", 1_130)]


def size(png: bytes) -> tuple[int, int]:
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    return struct.unpack(">II", png[16:24])


@pytest.fixture
def drawn(monkeypatch):
    """Draw a weekly chart, and return its axes."""
    figures = []
    monkeypatch.setattr(charts, "png", lambda figure: figures.append(figure) or b"")

    def draw(*weeks_and_tiers):
        charts.weeks(*weeks_and_tiers)
        (figure,) = figures
        figure.draw_without_rendering()
        return figure.axes

    return draw


def test_alt_text_of_weekly_chart_has_its_numbers():
    weekly_chart = charts.weeks(
        ACTIVE, {"high": 9, "medium": 20, "low": 3_000}, {"high": 7, "medium": 21, "low": 3_001}
    )
    assert size(weekly_chart.png)[0] == round(charts.WIDTH * charts.DPI)
    for number in ("120", "1,130", "9 high", "7 high", "3,000 low"):
        assert number in weekly_chart.alt_text


@pytest.mark.parametrize("size_of_shop", [1, 10, 100])
def test_labels_of_weekly_chart_do_not_overlap(drawn, size_of_shop):
    """In a shop with five-digit numbers, the last week's labels covered the week before.

    Two labels of one tier also ran together.
    """
    active = [(f"{day} Oct", 120 * size_of_shop) for day in range(1, 12)]
    now = {"high": 9 * size_of_shop, "medium": 20 * size_of_shop, "low": 1_284 * size_of_shop}
    weeks, tiers = drawn([*active, ("12 Oct", 110 * size_of_shop)], now, now)
    number = next(
        text for text in weeks.texts if text.get_text() == f"{110 * size_of_shop:,}"
    ).get_window_extent()
    assert not number.count_overlaps([bar.get_window_extent() for bar in weeks.patches[:-1]])
    numbers = [text.get_window_extent() for text in tiers.texts if text.get_text()[0].isdigit()]
    assert len(numbers) == 6
    assert [label.count_overlaps(numbers) for label in numbers] == [1] * 6  # itself


def test_count_axis_has_whole_numbers_only(drawn):
    axes = drawn([("3 Oct", 2), ("10 Oct", 3)], {}, {})[0]
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert len(set(labels)) == len(labels)
    assert all(label.isdigit() for label in labels)


def test_large_sums_are_written_out_on_the_axis():
    """A shop in Indonesia has millions of millions of rupiah: 2e+10 stood there."""
    from matplotlib.figure import Figure

    axes = Figure().subplots()
    axes.plot([0, 4e10])
    charts._style_axes(axes)
    axes.figure.draw_without_rendering()
    assert "20,000,000,000" in [label.get_text() for label in axes.get_yticklabels()]


def test_same_numbers_give_the_same_png_bytes():
    assert charts.weeks(ACTIVE, {}, {}).png == charts.weeks(ACTIVE, {}, {}).png


def test_chart_without_weeks_and_scores_is_drawn():
    assert size(charts.weeks([], {}, {}).png)
    assert size(charts.weeks([("1 Jan", 0)], {"high": 0, "medium": 0, "low": 0}, {}).png)
