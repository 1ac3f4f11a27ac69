"""One contract for every model, on a checkerboard whose answer a person can see: two kinds of customers, two of items."""

import io
import tracemalloc
from importlib.util import find_spec

import numpy as np
import pytest
from scipy.sparse import csr_array, csr_matrix

from retention.errors import Cancelled
from retention.recommend.models import (
    DEEP,
    MODELS,
    Collaborative,
    PurchaseDays,
    Segments,
    SideInformation,
    default_model,
)
from retention.recommend.models.base import clean_matrix
from retention.recommend.models.ease import BYTES_PER_ENTRY, Ease
from retention.recommend.models.matrix_factorisation import Als

CUSTOMERS, ITEMS = 40, 30
SAME_FOR_ALL = {"popular", "trending"}
OWN_ONLY = {"repeat"}
WITHOUT_HISTORY = {
    *SAME_FOR_ALL,
    "popular_segment",
    "social",
}  # have something to say of a stranger


def checkerboard(customers: int = CUSTOMERS, items: int = ITEMS) -> csr_matrix:
    """Even customers buy even items, odd ones odd items; each leaves out the item of their own number."""
    board = np.zeros((customers, items), dtype=np.float32)
    for customer in range(customers):
        board[customer, customer % 2 :: 2] = 1
        board[customer, customer % items] = 0
    return csr_matrix(board)


def beside(board: csr_matrix) -> SideInformation:
    """What is known beside it: the even items are cups, the odd are spades; two clubs; friends are of the same kind."""
    customers, items = board.shape
    row = np.repeat(np.arange(customers), np.diff(board.indptr))
    twice = np.repeat(np.arange(board.nnz), 2)
    age = np.random.default_rng(1).uniform(
        0, 28, 2 * board.nnz
    )  # in no order that could be learned
    kind = np.arange(customers) % 2
    return SideInformation(
        days=PurchaseDays(row[twice], board.indices[twice], age),
        texts=[
            ("blue china cup", "garden spade")[item % 2] + f" no {item}" for item in range(items)
        ],
        segments=Segments(
            np.array(["club:even", "club:odd"]), csr_matrix(np.eye(2, dtype=np.float32)[kind])
        ),
        friends=csr_matrix((np.eye(2)[kind] @ np.eye(2)[kind].T) @ board),
    )


NEEDS_TORCH = (
    pytest.mark.deep,
    pytest.mark.skipif(
        find_spec("torch") is None, reason="torch is not installed (make test-deep)"
    ),
)
NAMES = [pytest.param(name, marks=NEEDS_TORCH if name in DEEP else ()) for name in sorted(MODELS)]


@pytest.fixture(params=NAMES)
def model(request):
    return MODELS[request.param]()


@pytest.fixture
def finder(model):
    """A model that finds what a customer has not bought yet, each customer something else."""
    if model.name in SAME_FOR_ALL | OWN_ONLY:
        pytest.skip("says the same to everybody, or only what was bought before")
    return model


@pytest.fixture
def reasoner(model):
    if not isinstance(model, Collaborative):
        pytest.skip("does not reason from single entries")
    return model


def test_the_missing_square_of_ones_own_colour_comes_first(finder):
    board = checkerboard()
    scores = finder.fit(board, side=beside(board)).scores(board, side=beside(board))
    unseen = np.where(board.toarray() > 0, -np.inf, scores)
    assert (unseen.argmax(axis=1) == np.arange(CUSTOMERS) % ITEMS).all()


def test_more_items_than_customers_and_fewer_give_the_same_kind_of_answer(finder):
    board = checkerboard(30, 60)
    scores = finder.fit(board, side=beside(board)).scores(board, side=beside(board))
    unseen = np.where(board.toarray() > 0, -np.inf, scores)
    assert (unseen.argmax(axis=1) % 2 == np.arange(30) % 2).all()


def test_a_customer_nobody_has_seen_is_scored_by_what_is_known_of_them(finder):
    board = checkerboard()
    finder.fit(board, side=beside(board))
    stranger = csr_matrix((np.ones(3, np.float32), ([0, 0, 0], [0, 4, 8])), shape=(1, ITEMS))
    side = beside(board).select(np.array([2]))  # an even customer's club and friends
    best = np.argsort(-finder.scores(stranger, side=side)[0])[:10]
    assert (best % 2 == 0).all()


def test_what_is_known_beside_the_rows_is_cut_with_them(model):
    board = checkerboard()
    side, some = beside(board), np.array([7, 2, 30])
    model.fit(board, side=side)
    whole = model.scores(board, side=side)
    np.testing.assert_allclose(
        model.scores(csr_matrix(board[some]), side=side.select(some)),
        whole[some],
        rtol=1e-4,
        atol=1e-6,
    )


def test_of_an_empty_history_nothing_is_known_or_what_everybody_likes_and_never_the_first_items(
    model,
):
    dense = checkerboard().toarray()
    dense[:, 17] = 1  # everybody has it
    board = csr_matrix(dense)
    model.fit(board, side=beside(board))
    empty = csr_matrix((2, ITEMS), dtype=np.float32)
    none = SideInformation(days=PurchaseDays(*np.empty((3, 0), dtype=int)), friends=empty)
    scores = model.scores(empty, side=none)
    assert scores.shape == (2, ITEMS)
    np.testing.assert_array_equal(scores[0], scores[1])
    if model.name in WITHOUT_HISTORY - {"social"}:
        assert scores[0].argmax() == 17
    else:
        assert not scores.any()


def test_nothing_beside_the_matrix_is_an_ordinary_case(model):
    board = checkerboard()
    scores = model.fit(board).scores(board)
    assert scores.shape == board.shape
    assert np.isfinite(scores).all()


def test_what_was_all_bought_is_scored_like_anything_else(model):
    board = csr_matrix(np.ones((CUSTOMERS, ITEMS), dtype=np.float32))
    scores = model.fit(board, side=beside(board)).scores(board, side=beside(board))
    assert np.isfinite(scores).all()


def test_what_is_learned_survives_as_plain_arrays(model):
    board = checkerboard()
    model.fit(board, side=beside(board))
    file = io.BytesIO()
    np.savez(file, **model.arrays())
    file.seek(0)
    restored = type(model).restore(dict(np.load(file, allow_pickle=False)))
    np.testing.assert_allclose(
        restored.scores(board, side=beside(board)),
        model.scores(board, side=beside(board)),
        rtol=1e-5,
        atol=1e-6,
    )


def test_contributions_add_up_to_the_score_up_to_what_everybody_is_told(reasoner):
    board = checkerboard()
    reasoner.fit(board, side=beside(board))
    items = np.array([0, 7, 12])
    said = []
    for customer in (0, 4):
        parts = reasoner.contributions(board[customer], items)
        assert parts.shape == (3, board[customer].nnz)
        said.append(reasoner.scores(board[customer])[0, items] - parts.sum(axis=1))
    np.testing.assert_allclose(said[0], said[1], rtol=1e-3, atol=2e-5)


def test_the_same_seed_gives_the_same_model(model):
    board = checkerboard()
    once, again = (
        type(model)().fit(board, side=beside(board), seed=3).scores(board, side=beside(board))
        for _ in range(2)
    )
    np.testing.assert_array_equal(once, again)


def test_refitting_on_a_grown_matrix_forgets_the_old_one(model):
    board, larger = checkerboard(), checkerboard(60, 50)
    model.fit(board, side=beside(board)).fit(larger, side=beside(larger))
    fresh = type(model)().fit(larger, side=beside(larger)).scores(larger, side=beside(larger))
    np.testing.assert_allclose(
        model.scores(larger, side=beside(larger)), fresh, rtol=1e-4, atol=1e-6
    )


def test_a_cancelled_training_stops(model):
    def cancel(done, total, what):
        raise Cancelled

    with pytest.raises(Cancelled):
        model.fit(checkerboard(), progress=cancel)


def test_the_caller_keeps_its_matrix(model):
    board = checkerboard()
    before = board.copy()
    model.fit(board, side=beside(board)).scores(board, side=beside(board))
    assert (board != before).nnz == 0


@pytest.mark.parametrize("bad", [-1.0, np.nan, np.inf])
def test_preferences_that_would_silently_mislead_are_refused(model, bad):
    board = checkerboard()
    board.data[0] = bad
    with pytest.raises(ValueError, match="preference"):
        model.fit(board)


def test_the_door_takes_any_sparse_matrix_and_gives_the_one_implicit_wants():
    made = clean_matrix(csr_array(checkerboard().astype(np.float64)))
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


def test_ease_keeps_to_its_memory_by_pruning_what_fewest_buy_and_says_so():
    """More of both than the bound allows: it learns what it would learn in a shop that sold only the most bought."""
    chance = np.linspace(0.002, 0.2, 800)  # the later the item, the more buy it
    sold = csr_matrix((np.random.default_rng(0).random((900, 800)) < chance).astype(np.float32))
    bound = BYTES_PER_ENTRY * 200**2
    tracemalloc.start()
    model = Ease(memory=bound).fit(sold)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak <= bound + 2 * (sold.data.nbytes + sold.indices.nbytes)  # "beside the histories"
    assert model.max_rows == len(model.kept_) == 200
    buyers = np.diff(sold.tocsc().indptr)
    assert buyers[model.kept_].min() >= np.delete(buyers, model.kept_).max()
    found, alone = model.scores(sold), Ease().fit(sold[:, model.kept_])
    np.testing.assert_allclose(found[:, model.kept_], alone.scores(sold[:, model.kept_]), atol=1e-5)
    assert not np.delete(found, model.kept_, axis=1).any()
    lost = 1 - sold[:, model.kept_].nnz / sold.nnz
    assert model.pruning_note == (
        f"EASE learned the 200 most bought of 800 items, for its matrix may take 1 MiB; the others make up {lost:.1%} of what "
        "is known."
    )
    assert Ease().fit(sold).pruning_note == alone.pruning_note == ""


def test_als_weighs_by_confidence_so_that_a_faded_purchase_still_counts():
    board = checkerboard() * 0.1
    scores = Als(factors=8, regularization=0.1).fit(csr_matrix(board)).scores(csr_matrix(board))
    unseen = np.where(board.toarray() > 0, -np.inf, scores)
    assert (unseen.argmax(axis=1) % 2 == np.arange(CUSTOMERS) % 2).all()


def test_the_model_is_chosen_by_the_size_of_the_shop():
    assert default_model(2_500, 25_000).name == "ease"
    assert default_model(200_000, 20_000).name == "als"
