"""Test all models on a checkerboard of two kinds of customers and two kinds of items."""

import io
import tracemalloc
from importlib.util import find_spec

import numpy as np
import pytest
from scipy.sparse import csr_array, csr_matrix

from retention.errors import Cancelled
from retention.recommend.models import DEEP, MODELS, default_model
from retention.recommend.models.base import (
    Collaborative,
    PurchaseDays,
    Segments,
    SideInformation,
    clean_matrix,
)
from retention.recommend.models.ease import BYTES_PER_ENTRY, Ease
from retention.recommend.models.matrix_factorisation import Als

CUSTOMERS, ITEMS = 40, 30
SAME_FOR_ALL = {"popular", "trending"}
OWN_ONLY = {"repeat"}
WITHOUT_HISTORY = {*SAME_FOR_ALL, "popular_segment", "social"}  # score customers without a history


def checkerboard(customers: int = CUSTOMERS, items: int = ITEMS) -> csr_matrix:
    """Give even customers even items, odd ones odd items; each lacks the item of their number."""
    board = np.zeros((customers, items), dtype=np.float32)
    for customer in range(customers):
        board[customer, customer % 2 :: 2] = 1
        board[customer, customer % items] = 0
    return csr_matrix(board)


def side_information(board: csr_matrix) -> SideInformation:
    """Create side information for a checkerboard.

    Even items are cups, odd ones spades; customers are in two clubs; friends are of the same kind.
    """
    customers, items = board.shape
    row = np.repeat(np.arange(customers), np.diff(board.indptr))
    twice = np.repeat(np.arange(board.nnz), 2)
    age = np.random.default_rng(1).uniform(0, 28, 2 * board.nnz)  # a random order
    clubs = np.eye(2, dtype=np.float32)[np.arange(customers) % 2]
    return SideInformation(
        days=PurchaseDays(row[twice], board.indices[twice], age),
        texts=[
            f"{('blue china cup', 'garden spade')[item % 2]} no {item}" for item in range(items)
        ],
        segments=Segments(np.array(["club:even", "club:odd"]), csr_matrix(clubs)),
        friends=csr_matrix((clubs @ clubs.T) @ board),
    )


WITHOUT_TORCH = "torch is not installed (make test-deep)"
NEEDS_TORCH = (
    pytest.mark.deep,
    pytest.mark.skipif(find_spec("torch") is None, reason=WITHOUT_TORCH),
)
NAMES = [pytest.param(name, marks=NEEDS_TORCH if name in DEEP else ()) for name in sorted(MODELS)]


@pytest.fixture(params=NAMES)
def model(request):
    return MODELS[request.param]()


@pytest.fixture
def finder(model):
    """Return a model that finds items that a customer has not bought yet."""
    if model.name in SAME_FOR_ALL | OWN_ONLY:
        pytest.skip("says the same to everybody, or only what was bought before")
    return model


@pytest.fixture
def reasoner(model):
    if not isinstance(model, Collaborative):
        pytest.skip("does not reason from single entries")
    return model


def scores_of(model, board: csr_matrix, **options) -> np.ndarray:
    """Fit to a board and score it."""
    side = side_information(board)
    return model.fit(board, side=side, **options).scores(board, side=side)


def best_new(board: csr_matrix, scores: np.ndarray) -> np.ndarray:
    """Return each customer's best item that they do not have."""
    return np.where(board.toarray() > 0, -np.inf, scores).argmax(axis=1)


def test_missing_item_of_the_own_kind_comes_first(finder):
    board = checkerboard()
    best = best_new(board, scores_of(finder, board))
    assert (best == np.arange(CUSTOMERS) % ITEMS).all()


def test_more_items_than_customers_still_find_the_own_kind(finder):
    board = checkerboard(30, 60)
    assert (best_new(board, scores_of(finder, board)) % 2 == np.arange(30) % 2).all()


def test_new_customer_is_scored_by_history_and_side_information(finder):
    board = checkerboard()
    finder.fit(board, side=side_information(board))
    stranger = csr_matrix((np.ones(3, np.float32), ([0, 0, 0], [0, 4, 8])), shape=(1, ITEMS))
    side = side_information(board).select(np.array([2]))  # of an even customer
    best = np.argsort(-finder.scores(stranger, side=side)[0])[:10]
    assert (best % 2 == 0).all()


def test_side_information_is_selected_with_the_rows(model):
    board = checkerboard()
    whole, some = scores_of(model, board), np.array([7, 2, 30])
    side = side_information(board).select(some)
    selected = model.scores(csr_matrix(board[some]), side=side)
    np.testing.assert_allclose(selected, whole[some], rtol=1e-4, atol=1e-6)


def test_empty_history_scores_zero_or_popularity(model):
    dense = checkerboard().toarray()
    dense[:, 17] = 1  # all customers have it
    board = csr_matrix(dense)
    model.fit(board, side=side_information(board))
    empty = csr_matrix((2, ITEMS), dtype=np.float32)
    none = SideInformation(days=PurchaseDays(*np.empty((3, 0), dtype=int)), friends=empty)
    scores = model.scores(empty, side=none)
    assert scores.shape == (2, ITEMS)
    np.testing.assert_array_equal(scores[0], scores[1])
    if model.name in WITHOUT_HISTORY - {"social"}:
        assert scores[0].argmax() == 17
    else:
        assert not scores.any()


def test_side_information_is_optional(model):
    board = checkerboard()
    scores = model.fit(board).scores(board)
    assert scores.shape == board.shape
    assert np.isfinite(scores).all()


def test_history_of_all_items_has_finite_scores(model):
    board = csr_matrix(np.ones((CUSTOMERS, ITEMS), dtype=np.float32))
    assert np.isfinite(scores_of(model, board)).all()


def test_model_is_restored_from_plain_arrays_and_keeps_the_callers_matrix(model):
    board = checkerboard()
    expected = scores_of(model, board)
    assert (board != checkerboard()).nnz == 0
    file = io.BytesIO()
    np.savez(file, **model.arrays())
    file.seek(0)
    restored = type(model).restore(dict(np.load(file, allow_pickle=False)))
    scores = restored.scores(board, side=side_information(board))
    np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-6)


def test_contributions_add_up_to_the_score_up_to_item_bias(reasoner):
    board = checkerboard()
    reasoner.fit(board, side=side_information(board))
    items = np.array([0, 7, 12])
    biases = []
    for customer in (0, 4):
        parts = reasoner.contributions(board[customer], items)
        assert parts.shape == (3, board[customer].nnz)
        biases.append(reasoner.scores(board[customer])[0, items] - parts.sum(axis=1))
    np.testing.assert_allclose(biases[0], biases[1], rtol=1e-3, atol=2e-5)


def test_same_seed_gives_the_same_model(model):
    first, second = (scores_of(type(model)(), checkerboard(), seed=3) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_refitting_on_a_larger_matrix_forgets_the_old_one(model):
    larger = checkerboard(60, 50)
    scores_of(model, checkerboard())
    fresh = scores_of(type(model)(), larger)
    np.testing.assert_allclose(scores_of(model, larger), fresh, rtol=1e-4, atol=1e-6)


def test_cancelled_training_stops(model):
    def cancel(done, total, what):
        raise Cancelled

    with pytest.raises(Cancelled):
        model.fit(checkerboard(), progress=cancel)


@pytest.mark.parametrize("bad", [-1.0, np.nan, np.inf])
def test_rejects_negative_or_missing_preferences(model, bad):
    board = checkerboard()
    board.data[0] = bad
    with pytest.raises(ValueError, match="preference"):
        model.fit(board)


def test_clean_matrix_accepts_any_sparse_matrix():
    matrix = clean_matrix(csr_array(checkerboard().astype(np.float64)))
    assert isinstance(matrix, csr_matrix)
    assert matrix.dtype == np.float32


def test_ease_dual_equals_the_closed_form():
    board = checkerboard(40, 40)
    few = csr_matrix(board[:39])
    inverse = np.linalg.inv((few.T @ few).toarray() + 20 * np.eye(40))
    expected = few.toarray() @ (np.eye(40) - inverse / np.diag(inverse))
    wide = Ease(20).fit(few)
    assert wide.dual_
    np.testing.assert_allclose(wide.scores(few), expected, atol=1e-4)
    assert not Ease(20).fit(board).dual_


def test_ease_prunes_least_bought_items_to_fit_into_memory():
    """Pruned EASE equals EASE in a shop that sells only the most bought items."""
    chance = np.linspace(0.002, 0.2, 800)  # later items have more buyers
    bought = np.random.default_rng(0).random((900, 800)) < chance
    purchases = csr_matrix(bought.astype(np.float32))
    memory = BYTES_PER_ENTRY * 200**2
    tracemalloc.start()
    model = Ease(memory=memory).fit(purchases)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    histories = purchases.data.nbytes + purchases.indices.nbytes
    assert peak <= memory + 2 * histories
    assert model.max_rows == len(model.kept_) == 200
    buyers = np.diff(purchases.tocsc().indptr)
    assert buyers[model.kept_].min() >= np.delete(buyers, model.kept_).max()
    kept, scores = purchases[:, model.kept_], model.scores(purchases)
    pruned_shop = Ease().fit(kept)
    np.testing.assert_allclose(scores[:, model.kept_], pruned_shop.scores(kept), atol=1e-5)
    assert not np.delete(scores, model.kept_, axis=1).any()
    lost = 1 - kept.nnz / purchases.nnz
    assert model.pruning_note == (
        "EASE learned the 200 most bought of 800 items, for its matrix may take 1 MiB; "
        f"the others make up {lost:.1%} of what is known."
    )
    assert Ease().fit(purchases).pruning_note == pruned_shop.pruning_note == ""


def test_als_confidence_keeps_decayed_purchases():
    board = csr_matrix(checkerboard() * 0.1)
    scores = Als(factors=8, regularization=0.1).fit(board).scores(board)
    assert (best_new(board, scores) % 2 == np.arange(CUSTOMERS) % 2).all()


def test_default_model_depends_on_shop_size():
    assert default_model(2_500, 25_000).name == "ease"
    assert default_model(200_000, 20_000).name == "als"
