"""Matrix helpers agree with scipy and sort ties by position."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_info

from retention.recommend.matrices import (
    first_columns,
    in_rows,
    one_blas_thread,
    positions,
    row_entries,
    select_rows,
)
from retention.recommend.models.ease import _multiply_symmetric
from retention.recommend.reranking import _best


@st.composite
def entered(draw):
    """Draw sorted distinct entries of a matrix."""
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
def test_built_and_cut_matrices_equal_scipys(entries):
    row, column, values, shape = entries
    expected = csr_matrix((values, (row, column)), shape=shape)
    matrix = in_rows(row, column, values, shape)
    np.testing.assert_array_equal(matrix.toarray(), expected.toarray())
    assert matrix.has_canonical_format
    rows = np.arange(shape[0])[::-1]
    np.testing.assert_array_equal(select_rows(matrix, rows).toarray(), expected.toarray()[rows])
    assert select_rows(matrix, np.arange(shape[0])) is matrix
    for count in range(shape[1] + 1):
        np.testing.assert_array_equal(
            first_columns(matrix, count).toarray(), expected.toarray()[:, :count]
        )
    for at in range(shape[0]):
        columns, row_values = row_entries(matrix, at)
        np.testing.assert_array_equal(expected.toarray()[at, columns], row_values)
        assert len(columns) == (expected.toarray()[at] != 0).sum()


@pytest.mark.parametrize("rows", [1, 3])
def test_row_product_with_half_of_symmetric_matrix(rows):
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
def test_ties_are_in_order_of_position(scores, count, barred):
    table = np.array(scores, dtype=float)
    if barred:
        table[table == 0] = -np.inf
    expected = np.argsort(-table, axis=1, kind="stable")[:, :count]
    np.testing.assert_array_equal(_best(table, count), expected)


def test_unknown_id_has_no_position():
    """Indexing with the −1 would give the last customer's list."""
    assert positions(np.array(["a", "b"], dtype=object), ["b", "z"]).tolist() == [1, -1]


def test_blas_has_one_thread_inside_the_context_only():
    def threads(kind: str) -> list[int]:
        return [pool["num_threads"] for pool in threadpool_info() if kind in pool["user_api"]]

    before = threads("")
    with one_blas_thread():
        assert {*threads("blas")} == {1}
    assert threads("") == before
