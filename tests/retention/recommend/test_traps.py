"""Guard against wrong answers of implicit that raise no error."""

import numpy as np
import pytest
from implicit.cpu.als import AlternatingLeastSquares
from scipy.sparse import csr_array, csr_matrix, random
from threadpoolctl import threadpool_info

from retention.recommend.matrices import positions
from retention.recommend.models import MODELS, Als
from retention.recommend.models.base import NO_SIDE_INFORMATION, clean_matrix
from retention.recommend.models.matrix_factorisation import Bpr
from retention.recommend.retrieval import GROUPS, top_items, top_items_of_model
from tests.retention.recommend.test_models import ITEMS, checkerboard, side_information

LOWEST = -1e37


@pytest.fixture(scope="module")
def als() -> Als:
    return Als(factors=8).fit(checkerboard())


@pytest.fixture(scope="module")
def engine() -> AlternatingLeastSquares:
    engine = AlternatingLeastSquares(factors=8, random_state=0, num_threads=1)
    engine.fit(checkerboard(), show_progress=False)
    return engine


def test_unknown_id_is_not_the_last_customer(engine):
    board = checkerboard()
    unknown, last = (engine.recommend(at, board[at])[0] for at in (-1, 39))
    assert (unknown == last).all()  # the trap
    # Whoever indexes drops the −1.
    assert positions(np.array(["a", "b"], dtype=object), ["b", "z"]).tolist() == [1, -1]


def test_customer_who_bought_everything_gets_no_item_0(engine, als):
    everything = csr_matrix(np.ones((1, ITEMS), dtype=np.float32))
    # The trap: five items all the same.
    assert (engine.recommend(0, everything, N=5)[1] < LOWEST).all()
    ids, scores = top_items_of_model(als, everything, 5, without=everything)
    assert (ids == -1).all()
    assert not np.isfinite(scores).any()


def test_k_is_capped_at_number_of_items(als):
    board = checkerboard()[:1]
    ids, _ = top_items_of_model(als, board, ITEMS + 50)
    assert sorted(ids[0]) == list(range(ITEMS))
    fresh, _ = top_items_of_model(als, board, ITEMS, without=board)
    assert set(fresh[0][fresh[0] >= 0]) == set(range(ITEMS)) - set(board.indices)


def test_items_without_factors_are_left_out_but_zero_scores_stay():
    factors = np.array([[1, 0], [0, 1], [0, 0], [-1, 0]], dtype=np.float32)
    model = Als.restore({"item_factors": factors, "regularization": np.array(1.0)})
    history = csr_matrix(np.array([[1, 0, 0, 0]], dtype=np.float32))
    ids, scores = top_items_of_model(model, history, 4)
    assert ids[0].tolist() == [0, 1, 3, -1]
    assert scores[0, 1] == 0
    assert top_items_of_model(model, history, 2)[0][0].tolist() == [0, 1]


@pytest.mark.parametrize("name", ["item_knn_bm25", "user_knn_tfidf", "content"])
def test_items_unknown_to_neighbours_are_not_listed(name):
    board = checkerboard()
    model = MODELS[name]().fit(board, side=side_information(board))
    ids, scores = top_items_of_model(model, board, ITEMS, without=board)
    assert not (np.isin(ids[0], board[0].indices)).any()
    assert (scores[ids >= 0] != 0).all()
    assert ((ids == -1) == ~np.isfinite(scores)).all()


@pytest.mark.parametrize("name", ["als", "bpr", "logistic_mf", "item_knn_cosine", "ease"])
def test_customer_without_history_gets_no_items(name):
    model = MODELS[name]().fit(checkerboard())
    ids, _ = top_items_of_model(model, csr_matrix((2, ITEMS), dtype=np.float32), 5)
    assert (ids == -1).all()


def test_decayed_purchase_scores_above_none():
    seen = clean_matrix(checkerboard() * 0.05)
    before = seen.copy()
    Als(factors=4).fit(seen)
    assert (seen != before).nnz == 0  # the confidence 1 + weight is the model's own


def test_negative_preferences_are_refused():
    board = checkerboard()
    board.data[:3] = -1
    with pytest.raises(ValueError, match="negative"):
        Als().fit(board)


def test_each_history_is_scored_by_its_row(als):
    board = checkerboard()
    whole = als.scores(board)
    np.testing.assert_allclose(als.scores(csr_matrix(board[5])), whole[5:6], rtol=1e-4, atol=1e-6)


def test_sparse_arrays_are_accepted():
    assert Als(factors=4).fit(csr_array(checkerboard())).scores(checkerboard()).shape == (40, ITEMS)


def test_bpr_is_deterministic():
    once, again = (Bpr().fit(checkerboard(), seed=5).item_factors_ for _ in range(2))
    np.testing.assert_array_equal(once, again)


def test_blas_has_one_thread_inside_the_context_only():
    during = []

    class Watching:
        name, uses = "watching", ()

        def scores(self, histories, *, side=NO_SIDE_INFORMATION):
            during.extend(
                pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"
            )
            return np.ones(histories.shape, dtype=np.float32)

    before = [pool["num_threads"] for pool in threadpool_info()]
    top_items_of_model(Watching(), checkerboard(), 3)
    assert set(during) == {1}
    assert [pool["num_threads"] for pool in threadpool_info()] == before


@pytest.mark.parametrize("items", [300, GROUPS * 3, GROUPS * 4 + 77])
def test_top_items_equal_a_full_sort(items):
    rng = np.random.default_rng(items)
    left, right = rng.normal(size=(150, 8)), rng.normal(size=(items, 8))
    without = csr_matrix(random(150, items, density=0.1, format="csr", rng=rng))
    barred = rng.random(items) < 0.2
    ids, scores = top_items(left, right, 12, without=without, barred=barred, cores=2)
    all_scores = left.astype(np.float32) @ right.T.astype(np.float32)
    all_scores[without.toarray() != 0] = -np.inf
    all_scores[:, barred] = -np.inf
    expected = np.argsort(-all_scores, axis=1, kind="stable")[:, :12]
    np.testing.assert_array_equal(ids, expected)
    np.testing.assert_allclose(scores, np.take_along_axis(all_scores, expected, 1), rtol=1e-5)
