"""Test that the churn model uses texts where they help, and only there."""

import numpy as np
import pytest

from retention.churn.text_gate import TEXT_FEATURES
from tests import shop as tiny
from tests.retention.texts.complaints import losses


def test_texts_that_say_nothing_leave_the_model_as_it_is(shop_copy):
    without, with_texts, trained = losses(shop_copy, effect=0.0)
    assert not TEXT_FEATURES & {*trained.columns}
    np.testing.assert_array_equal(with_texts, without)


@pytest.mark.nightly
def test_complaints_before_churn_lower_the_log_loss(tmp_path):
    shop = tiny.build(tmp_path, customers=600)
    without, with_texts, trained = losses(shop, effect=0.8)
    assert TEXT_FEATURES & {*trained.columns}
    gain = without - with_texts
    assert gain.mean() > 2 * gain.std(ddof=1) / np.sqrt(len(gain))
