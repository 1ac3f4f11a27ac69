"""What implicit answers wrongly without an error, each trap beside our answer to it."""

import numpy as np
import pytest
from implicit.cpu.als import AlternatingLeastSquares
from scipy.sparse import csr_array, csr_matrix, random
from threadpoolctl import threadpool_info

from retention.recommend.id_index import positions
from retention.recommend.models import MODELS, NO_SIDE_INFORMATION, Als
from retention.recommend.models.base import clean_matrix
from retention.recommend.models.matrix_factorisation import Bpr
from retention.recommend.retrieval import GROUPS, best, best_of
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


def test_an_unknown_id_is_nobody_and_not_the_last_customer(engine):
    board = checkerboard()
    assert (
        engine.recommend(-1, board[-1])[0] == engine.recommend(39, board[39])[0]
    ).all()  # the trap
    known = np.array(["a", "b"], dtype=object)
    assert positions(known, ["b", "z"]).tolist() == [
        1,
        -1,
    ]  # whoever indexes drops the −1: test_an_unknown_customer…


def test_all_bought_leaves_nothing_instead_of_item_0(engine, als):
    everything = csr_matrix(np.ones((1, ITEMS), dtype=np.float32))
    assert (
        engine.recommend(0, everything, N=5)[1] < LOWEST
    ).all()  # the trap: five items all the same
    ids, scores = best_of(als, everything, 5, without=everything)
    assert (ids == -1).all()
    assert not np.isfinite(scores).any()


def test_more_than_there_are_is_as_many_as_there_are(als):
    board = checkerboard()[:1]
    ids, _ = best_of(als, board, ITEMS + 50)
    assert sorted(ids[0]) == list(range(ITEMS))
    fresh, _ = best_of(als, board, ITEMS, without=board)
    assert set(fresh[0][fresh[0] >= 0]) == set(range(ITEMS)) - set(board.indices)


def test_items_without_factors_are_left_out_and_a_score_of_nought_is_not():
    factors = np.array([[1, 0], [0, 1], [0, 0], [-1, 0]], dtype=np.float32)
    model = Als.restore({"item_factors": factors, "regularization": np.array(1.0)})
    history = csr_matrix(np.array([[1, 0, 0, 0]], dtype=np.float32))
    ids, scores = best_of(model, history, 4)
    assert ids[0].tolist() == [0, 1, 3, -1]
    assert scores[0, 1] == 0
    assert best_of(model, history, 2)[0][0].tolist() == [0, 1]


@pytest.mark.parametrize("name", ["item_knn_bm25", "user_knn_tfidf", "content"])
def test_what_neighbours_do_not_know_is_not_on_the_list(name):
    board = checkerboard()
    model = MODELS[name]().fit(board, side=side_information(board))
    ids, scores = best_of(model, board, ITEMS, without=board)
    assert not (np.isin(ids[0], board[0].indices)).any()
    assert (scores[ids >= 0] != 0).all()
    assert ((ids == -1) == ~np.isfinite(scores)).all()


@pytest.mark.parametrize("name", ["als", "bpr", "logistic_mf", "item_knn_cosine", "ease"])
def test_a_customer_without_a_history_gets_no_list_at_all(name):
    model = MODELS[name]().fit(checkerboard())
    ids, _ = best_of(model, csr_matrix((2, ITEMS), dtype=np.float32), 5)
    assert (ids == -1).all()


def test_a_faded_purchase_is_more_than_none():
    seen = clean_matrix(checkerboard() * 0.05)
    before = seen.copy()
    Als(factors=4).fit(seen)
    assert (seen != before).nnz == 0  # the confidence 1 + weight is the model's own


def test_negative_preferences_are_refused_for_implicit_takes_them_and_changes_nothing():
    board = checkerboard()
    board.data[:3] = -1
    with pytest.raises(ValueError, match="negative"):
        Als().fit(board)


def test_each_history_is_scored_by_its_own_row(als):
    board = checkerboard()
    whole = als.scores(board)
    np.testing.assert_allclose(als.scores(csr_matrix(board[5])), whole[5:6], rtol=1e-4, atol=1e-6)


def test_the_new_kind_of_sparse_array_is_taken_too():
    assert Als(factors=4).fit(csr_array(checkerboard())).scores(checkerboard()).shape == (40, ITEMS)


def test_bpr_is_the_same_twice():
    once, again = (Bpr().fit(checkerboard(), seed=5).item_factors_ for _ in range(2))
    np.testing.assert_array_equal(once, again)


def test_blas_has_one_thread_while_lists_are_made_and_its_own_again_afterwards():
    during = []

    class Watching:
        name, uses = "watching", ()

        def scores(self, histories, *, side=NO_SIDE_INFORMATION):
            during.extend(
                pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"
            )
            return np.ones(histories.shape, dtype=np.float32)

    before = [pool["num_threads"] for pool in threadpool_info()]
    best_of(Watching(), checkerboard(), 3)
    assert set(during) == {1}
    assert [pool["num_threads"] for pool in threadpool_info()] == before


@pytest.mark.parametrize("items", [300, GROUPS * 3, GROUPS * 4 + 77])
def test_the_best_of_many_are_those_of_sorting_everything(items):
    rng = np.random.default_rng(items)
    left, right = rng.normal(size=(150, 8)), rng.normal(size=(items, 8))
    without = csr_matrix(random(150, items, density=0.1, format="csr", rng=rng))
    barred = rng.random(items) < 0.2
    ids, scores = best(left, right, 12, without=without, barred=barred, cores=2)
    all_scores = left.astype(np.float32) @ right.T.astype(np.float32)
    all_scores[without.toarray() != 0] = -np.inf
    all_scores[:, barred] = -np.inf
    expected = np.argsort(-all_scores, axis=1, kind="stable")[:, :12]
    np.testing.assert_array_equal(ids, expected)
    np.testing.assert_allclose(scores, np.take_along_axis(all_scores, expected, 1), rtol=1e-5)
