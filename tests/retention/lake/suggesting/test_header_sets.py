"""Test the maps proposed for the headers of shop systems in nine languages."""

import pytest

from retention.errors import BadInput
from retention.lake.suggesting.map_lines import DoubtCode
from retention.lake.suggesting.statuses import status_kind
from retention.lake.suggesting.suggest import propose
from tests.retention.lake.suggesting.header_sets import HeaderSet, Outcome, judge, load_sets

MIN_RIGHT = 0.95


def _outcome(header_set: HeaderSet, lake, write_file) -> Outcome:
    try:
        proposal = propose(
            lake, "events", write_file(header_set.content(), f"{header_set.name}.csv")
        )
    except BadInput as error:
        return Outcome(len(header_set.expected()) or 1, 0, [], [str(error)])
    flagged = {name for doubt in proposal.doubts for name in (doubt.target, doubt.column)}
    return judge(header_set, proposal.text, flagged)


def test_sets_cover_nine_languages_and_many_platforms():
    sets = load_sets()
    assert len(sets) >= 25
    assert len({each.language for each in sets}) == 9
    assert len({each.platform for each in sets}) >= 15


@pytest.mark.nightly
def test_columns_of_shop_systems_are_right_or_flagged(lake, write_file):
    outcomes = {each.name: _outcome(each, lake, write_file) for each in load_sets()}
    columns = sum(outcome.columns for outcome in outcomes.values())
    right = sum(outcome.right for outcome in outcomes.values())
    mistakes = {name: each.mistakes for name, each in outcomes.items() if each.mistakes}
    assert right >= MIN_RIGHT * columns, f"{right} of {columns}: {mistakes}"
    unflagged = {name: each.wrong_unflagged for name, each in outcomes.items()}
    assert not any(unflagged.values()), mistakes


# ---------------------------------------------------------------- statuses


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("交易关闭", "closed"),
        ("交易成功", "sale"),
        ("等待买家付款", "pending"),
        ("买家已付款，等待卖家发货", "sale"),
        ("没有申请退款", "sale"),
        ("キャンセル", "cancelled"),
        ("wc-cancelled", "cancelled"),
        ("Shipped - Returned to Seller", "refunded"),
        ("Pending - Waiting for Pick Up", "sale"),
        ("Teilweise erstattet", "sale"),
        ("Rückerstattet", "refunded"),
        ("Annulée", "cancelled"),
        ("Pendiente de pago", "pending"),
        ("Geannuleerd", "cancelled"),
        ("gold", None),
    ],
)
def test_statuses_are_known_in_many_languages(value, kind):
    assert status_kind(value) == kind


def _orders(statuses: list[str], column: str = "Status") -> str:
    numbered = enumerate(statuses)
    rows = [f"o{n},c{n % 20},2025-01-{n % 28 + 1:02},10.5,{status}\n" for n, status in numbered]
    return f"order_id,customer_id,order_date,total,{column}\n{''.join(rows)}"


def _counts(report) -> tuple[int, int, int]:
    return report.rows_accepted, report.rows_filtered, report.rows_quarantined


def test_import_counts_orders_left_out_by_status(import_proposed):
    text = _orders(["交易成功"] * 80 + ["交易关闭"] * 15 + ["等待买家付款"] * 5)
    proposal, report = import_proposed(text)
    assert "15 of 100 orders are 交易关闭: left out" in proposal.text
    expected = [("交易关闭", 15, 100), ("等待买家付款", 5, 100)]
    assert [(one["value"], one["orders"], one["of_orders"]) for one in report.left_out] == expected
    assert _counts(report) == (80, 20, 0)


@pytest.mark.parametrize(
    ("statuses", "accepted", "doubts"),
    [
        # Paid on delivery.
        (["pending"] * 70 + ["paid"] * 20 + ["voided"] * 10, 90, "most orders are pending"),
        (["alpha"] * 60 + ["beta"] * 40, 100, "alpha, beta"),
    ],
)
def test_doubtful_statuses_count_with_a_warning(import_proposed, statuses, accepted, doubts):
    proposal, report = import_proposed(_orders(statuses))
    assert report.rows_accepted == accepted
    (doubt,) = proposal.doubts
    assert (doubt.code, doubt.column) == (DoubtCode.STATUS, "Status")
    assert doubts in proposal.text


def test_cancelled_orders_with_a_time_are_left_out(import_proposed):
    _, report = import_proposed(_orders(["2025-02-01"] * 10 + [""] * 50, "cancelled_at"))
    assert _counts(report) == (50, 10, 0)
    assert report.left_out[0]["value"] == "*"


def test_left_out_rows_are_not_quarantined_for_other_faults(import_proposed):
    text = _orders(["done"] * 50 + ["cancelled"] * 10)
    faulty = text.replace("o55,c15,2025-01-28,10.5", "o55,c15,2025-01-28,?")
    assert _counts(import_proposed(faulty)[1]) == (50, 10, 0)


@pytest.mark.parametrize("value", ['"Status"', '{ Status = "done" }'])
def test_refuses_a_wrong_list_of_left_out_values(import_file, value):
    with pytest.raises(BadInput, match="leave_out"):
        import_file(_orders(["done"] * 30), f"[events]\nleave_out = {value}\n")


# ---------------------------------------------------------------- rows and discounts


def test_running_numbers_keep_equal_lines_apart(import_proposed, import_file):
    """The next file's numbers begin anew, and neither file hides lines of the other."""
    head = "Row ID,Order ID,Customer ID,Order Date,Product ID,Sales\n"
    lines = [f"o{n // 2},c{n % 9},2025-01-{n // 2 % 28 + 1:02},p{n % 7},5.5\n" for n in range(60)]
    first, second = (
        head + "".join(f"{n + 1},{row}" for n, row in enumerate(rows))
        for rows in ([*lines, lines[0]], [lines[0], lines[0], *lines])
    )
    proposal, report = import_proposed(first)
    later = import_file(second, proposal.text)
    # 60 lines, and the first of them three times.
    assert report.rows_accepted + later.rows_accepted == 62


def test_discount_rate_becomes_an_amount(lake, import_proposed):
    text = _orders(["0", "0.2"] * 30, "Discount").replace(",10.5,", ",80,")
    proposal, _ = import_proposed(text)
    assert [doubt.code for doubt in proposal.doubts] == [DoubtCode.DISCOUNT_RATE]
    events = lake.table("events").execute()
    assert set(zip(events.amount, events.discount.round(6), strict=True)) == {(80, 0), (80, 20)}
