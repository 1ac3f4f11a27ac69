"""A challenger of several desks: its terms, its rows, and what its card says."""

import numpy as np
import pytest

from retention import clock
from retention.errors import Refused
from retention.federation import challenger
from retention.federation import terms as columns
from retention.privacy import descent, ledger
from retention.reports.card import card
from retention.window import Window
from tests.retention.privacy.test_ledger import MONDAY, budgeted  # noqa: F401 - a fixture
from tests.world import change, read

WINDOW = Window(21, 42)
SIZE = len(columns.FEATURES) + 1
TERMS = descent.terms(0.9)
EXACT = {"desks": 4, "rows": 900}
NOISY = {"desks": 4, "customers": 310, **descent.terms(2.0)}


def rows_of(lake, settings, cutoff):
    """Return the rows that a desk trains on."""

    class Joined(Exception):
        pass

    def join(rows):
        raise Joined(rows)

    request = challenger.request(cutoff, WINDOW, "U1")
    with pytest.raises(Joined) as joined:
        challenger.train(settings, lake, None, request, join)
    return joined.value.args[0]


def test_accepted_terms_use_the_budget_once_per_training(budgeted):  # noqa: F811
    change(budgeted, challenger.accept, TERMS, None, "U1")
    summary = read(budgeted, ledger.summary)
    assert (summary["spent"], summary["releases"][0]["delta"]) == (0.9, descent.DELTA)
    with pytest.raises(Refused, match=r"needs 0\.9 of the privacy budget"):
        change(budgeted, challenger.accept, TERMS, None, "U1")


def test_desk_with_a_budget_refuses_a_training_without_noise(budgeted):  # noqa: F811
    with pytest.raises(Refused, match="trains without noise"):
        change(budgeted, challenger.accept, {}, None, "U1")


def test_desk_refuses_more_than_it_was_told_to_accept(database):
    clock.configure(fixed=MONDAY)
    with pytest.raises(Refused, match=r"privacy loss of 0\.9, more than 0\.5"):
        change(database, challenger.accept, TERMS, 0.5, "U1")
    with pytest.raises(Refused, match="trains without noise"):
        change(database, challenger.accept, {}, 0.5, "U1")
    change(database, challenger.accept, {}, None, "U1")
    assert read(database, ledger.summary)["spent"] == 0
    change(database, challenger.accept, TERMS, 0.9, "U1")
    assert read(database, ledger.summary)["spent"] == 0.9


def test_future_events_change_no_row_that_a_desk_trains_on(shop, truncated, learned_at):
    seen, blind = (rows_of(lake, shop.settings, learned_at) for lake in (shop.lake, truncated))
    assert len(seen["y"]) > 100
    for name in ("X", "y", "customer"):
        np.testing.assert_array_equal(seen[name], blind[name])
    assert len(np.unique(seen["customer"])) == seen["customer"].max() + 1


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("report", "note"),
    [
        (EXACT, "4 desks, 900 rows."),
        (NOISY, "4 desks, about 310 customers. Differentially private for each customer: ε = 2"),
    ],
)
def test_card_says_that_other_shops_taught_the_model(shop_copy, report, note):
    learned = {"weights": [0.1] * SIZE, **report}
    request = challenger.request(shop_copy.end, WINDOW, "U1")
    settings, lake, database = shop_copy.settings, shop_copy.lake, shop_copy.database
    result = challenger.train(settings, lake, None, request, lambda rows: learned)
    assert result.promote == ("epsilon" not in report)  # it fails checks; without noise it is used
    assert result.row.parameters.get("privacy", {}).get("delta") == report.get("delta")
    change(database, challenger.store, result, "U1")
    limits = " ".join(card(lake, database, version=result.row.version).data["limits"])
    assert note in limits
    assert "from the customers of several shops" in limits
    assert "from this shop's customers" not in limits
