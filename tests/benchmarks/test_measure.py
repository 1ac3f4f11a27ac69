"""Test the figures of benchmarks."""

import pytest

from tests.benchmarks.measure import in_turns, paired


def test_a_ratio_is_the_median_of_the_pairs_with_its_spread():
    figure = paired([(2, 1), (3, 1), (2.5, 2)], "s", scale=1000, most=2.1)
    assert (figure.value, figure.peer, figure.ratio) == (2500, 1000, 2.0)
    assert figure.spread == (1.25, 3.0)
    assert figure.met


@pytest.mark.parametrize(("least", "is_met"), [(0.4, True), (0.6, False)])
def test_a_lower_bound_is_compared_with_the_median_ratio(least, is_met):
    assert paired([(1, 2), (1, 2), (9, 2)], "requests/s", least=least).met is is_met


def test_runs_take_turns():
    ran = []
    assert len(in_turns(lambda: ran.append("a"), lambda: ran.append("b"), times=2)) == 2
    assert ran == ["a", "b", "a", "b"]
