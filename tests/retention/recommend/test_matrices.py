"""The short ways to matrices say what scipy's long ones say; the best are the best, equal ones by position."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from retention.recommend.matrices import entries, first_columns, in_rows, some_rows
from retention.recommend.models.ease import _multiply_symmetric
from retention.recommend.reranking import _best


@st.composite
def entered(draw):
    """Rows in order, columns and values of a matrix, each place at most once."""
    shape = draw(st.tuples(st.integers(1, 6), st.integers(1, 8)))
    places = draw(st.sets(st.integers(0, shape[0] * shape[1] - 1)))
    place = np.array(sorted(places, key=lambda at: (at // shape[1], -at)), dtype=np.int64)
    return (
        place // shape[1],
        place % shape[1],
        np.arange(1, len(place) + 1, dtype=np.float32),
        shape,
    )


@given(entered())
def test_matrices_put_together_or_cut_by_hand(made):
    row, column, values, shape = made
    expected = csr_matrix((values, (row, column)), shape=shape)
    found = in_rows(row, column, values, shape)
    np.testing.assert_array_equal(found.toarray(), expected.toarray())
    assert found.has_canonical_format
    rows = np.arange(shape[0])[::-1]
    np.testing.assert_array_equal(some_rows(found, rows).toarray(), expected.toarray()[rows])
    assert some_rows(found, np.arange(shape[0])) is found
    for count in range(shape[1] + 1):
        np.testing.assert_array_equal(
            first_columns(found, count).toarray(), expected.toarray()[:, :count]
        )
    for at in range(shape[0]):
        columns, told = entries(found, at)
        np.testing.assert_array_equal(expected.toarray()[at, columns], told)
        assert len(columns) == (expected.toarray()[at] != 0).sum()


@pytest.mark.parametrize("rows", [1, 3])
def test_one_row_by_half_of_a_symmetric_matrix(rows):
    rng = np.random.default_rng(4)
    half = rng.normal(size=(40, 40)).astype(np.float32)
    symmetric, some = half + half.T, rng.normal(size=(rows, 40)).astype(np.float32)
    np.testing.assert_allclose(
        _multiply_symmetric(some, symmetric), some @ symmetric, rtol=1e-4, atol=1e-4
    )


@given(
    st.lists(st.lists(st.integers(0, 3), min_size=9, max_size=9), min_size=1, max_size=4),
    st.integers(1, 9),
    st.booleans(),
)
def test_equal_scores_go_by_position(scores, count, barred):
    table = np.array(scores, dtype=float)
    if barred:
        table[table == 0] = -np.inf
    expected = np.argsort(-table, axis=1, kind="stable")[:, :count]
    np.testing.assert_array_equal(_best(table, count), expected)
