"""Where there is too little to learn how to rank: one's own purchases first, what is popular for those who have few."""

import numpy as np

from retention.recommend.ranking.blend import blended


def test_popularity_decides_for_those_who_bought_little_or_long_ago():
    bought_lately, bought_long_ago, nothing = [0, 0, 4.0], [0, 0, 0.02], [0, 0, 0]
    own = np.array([bought_lately, bought_long_ago, nothing])
    scores = blended(own, np.zeros((3, 3)), share=np.array([0.6, 0.3, 0.1]))
    np.testing.assert_array_equal(np.argsort(-scores), [[2, 0, 1], [0, 1, 2], [0, 1, 2]])


def test_popularity_does_not_bring_back_what_they_returned():
    scores = blended(np.array([[-0.05, 0.0]]), np.zeros((1, 2)), share=np.array([0.9, 0.1]))
    assert scores[0, 0] < 0 < scores[0, 1]


def test_where_nobody_bought_lately_own_purchases_and_others_histories_remain():
    own, others = np.array([[1.0, 0, 0]]), np.array([[0, 0, 0.5]])
    np.testing.assert_array_equal(blended(own, others, share=np.zeros(3)), [[1, 0, 0.5]])
