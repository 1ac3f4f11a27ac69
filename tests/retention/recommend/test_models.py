"""One contract for every collaborative model, on a checkerboard whose answer a person can see."""

import io

import numpy as np
import pytest
from scipy.sparse import csr_array, csr_matrix

from retention.errors import Cancelled
from retention.recommend.models import MODELS, fitting
from retention.recommend.models.als import Als
from retention.recommend.models.contract import Collaborative, checked
from retention.recommend.models.ease import Ease

CUSTOMERS, ITEMS = 40, 30


def checkerboard(customers: int = CUSTOMERS, items: int = ITEMS) -> csr_matrix:
    """Even customers buy even items, odd ones odd items; each leaves out the item of their own number."""
    board = np.zeros((customers, items), dtype=np.float32)
    for customer in range(customers):
        board[customer, customer % 2 :: 2] = 1
        board[customer, customer % items] = 0
    return csr_matrix(board)


@pytest.fixture(params=sorted(MODELS))
def model(request) -> Collaborative:
    return MODELS[request.param]()


def test_the_missing_square_of_ones_own_colour_comes_first(model):
    board = checkerboard()
    scores = model.fit(board).scores(board)
    unseen = np.where(board.toarray() > 0, -np.inf, scores)
    assert (unseen.argmax(axis=1) == np.arange(CUSTOMERS) % ITEMS).all()


def test_more_items_than_customers_and_fewer_give_the_same_kind_of_answer(model):
    board = checkerboard(30, 60)
    scores = np.where(board.toarray() > 0, -np.inf, model.fit(board).scores(board))
    assert (scores.argmax(axis=1) % 2 == np.arange(30) % 2).all()


def test_a_customer_nobody_has_seen_is_scored_by_their_history(model):
    model.fit(checkerboard())
    stranger = csr_matrix((np.ones(3, np.float32), ([0, 0, 0], [0, 4, 8])), shape=(1, ITEMS))
    best = np.argsort(-model.scores(stranger)[0])[:10]
    assert (best % 2 == 0).all()


def test_an_empty_history_says_nothing_instead_of_the_first_items(model):
    model.fit(checkerboard())
    assert not model.scores(csr_matrix((2, ITEMS), dtype=np.float32)).any()


def test_what_is_learned_survives_as_plain_arrays(model):
    board = checkerboard()
    model.fit(board)
    file = io.BytesIO()
    np.savez(file, **model.arrays())
    file.seek(0)
    restored = type(model).restore(dict(np.load(file, allow_pickle=False)))
    np.testing.assert_allclose(restored.scores(board), model.scores(board), rtol=1e-5, atol=1e-6)


def test_contributions_add_up_to_the_score(model):
    board = checkerboard()
    model.fit(board)
    items = np.array([0, 7])  # customer 0 bought neither
    parts = model.contributions(board[0], items)
    assert parts.shape == (2, board[0].nnz)
    np.testing.assert_allclose(parts.sum(axis=1), model.scores(board[0])[0, items], rtol=1e-3, atol=1e-5)


def test_the_same_seed_gives_the_same_model(model):
    board = checkerboard()
    again = type(model)().fit(board, seed=3)
    np.testing.assert_array_equal(again.scores(board), model.fit(board, seed=3).scores(board))


def test_refitting_on_a_larger_matrix_reads_nothing_out_of_bounds(model):
    model.fit(checkerboard())
    larger = checkerboard(60, 50)
    assert model.fit(larger).scores(larger).shape == (60, 50)


def test_a_cancelled_training_stops(model):
    def cancel(done, total, what):
        raise Cancelled

    with pytest.raises(Cancelled):
        model.fit(checkerboard(), progress=cancel)


def test_the_caller_keeps_its_matrix(model):
    board = checkerboard()
    before = board.copy()
    model.fit(board)
    assert (board != before).nnz == 0


@pytest.mark.parametrize("bad", [-1.0, np.nan, np.inf])
def test_preferences_that_would_silently_mislead_are_refused(model, bad):
    board = checkerboard()
    board.data[0] = bad
    with pytest.raises(ValueError, match="preference"):
        model.fit(board)


def test_the_door_takes_any_sparse_matrix_and_gives_the_one_implicit_wants():
    made = checked(csr_array(checkerboard().astype(np.float64)))
    assert isinstance(made, csr_matrix)
    assert made.dtype == np.float32


def test_ease_gives_the_same_scores_either_way_round():
    board = checkerboard(40, 40)
    wide, square = Ease(20).fit(csr_matrix(board[:39])), Ease(20)
    gram = (board[:39].T @ board[:39]).toarray() + 20 * np.eye(40)
    inverse = np.linalg.inv(gram)
    expected = board[:39].toarray() @ (np.eye(40) - inverse / np.diag(inverse))
    assert wide.dual_
    np.testing.assert_allclose(wide.scores(board[:39]), expected, atol=1e-4)
    assert not square.fit(board).dual_


def test_als_weighs_by_confidence_so_that_a_faded_purchase_still_counts():
    board = checkerboard() * 0.1
    scores = Als(factors=8, regularization=0.1).fit(csr_matrix(board)).scores(csr_matrix(board))
    unseen = np.where(board.toarray() > 0, -np.inf, scores)
    assert (unseen.argmax(axis=1) % 2 == np.arange(CUSTOMERS) % 2).all()


def test_the_model_is_chosen_by_the_size_of_the_shop():
    assert fitting(2_500, 25_000).name == "ease"
    assert fitting(200_000, 20_000).name == "als"
