"""Test the maps proposed for the headers of shop systems in nine languages."""

import pytest

from retention.errors import BadInput
from retention.lake import Lake
from retention.lake.importing.import_files import import_files
from retention.lake.suggesting.map_lines import DoubtCode
from retention.lake.suggesting.statuses import status_kind
from retention.lake.suggesting.suggest import propose
from tests.retention.lake.suggesting.header_sets import HeaderSet, Outcome, judge, load_sets

MIN_RIGHT = 0.95


def _outcome(header_set: HeaderSet, settings, tmp_path) -> Outcome:
    path = tmp_path / f"{header_set.name}.csv"
    path.write_bytes(header_set.content())
    try:
        proposal = propose(Lake.open(settings), "events", str(path))
    except BadInput as error:
        return Outcome(len(header_set.expected()) or 1, 0, [], [str(error)])
    flagged = {name for doubt in proposal.doubts for name in (doubt.target, doubt.column)}
    return judge(header_set, proposal.text, flagged)


def test_sets_cover_nine_languages_and_many_platforms():
    sets = load_sets()
    assert len(sets) >= 25
    assert len({each.language for each in sets}) == 9
    assert len({each.platform for each in sets}) >= 15


def _one_set_per_language() -> list[HeaderSet]:
    return list({each.language: each for each in load_sets()}.values())


@pytest.mark.nightly
@pytest.mark.parametrize(
    "sets",
    [
        pytest.param(_one_set_per_language, id="one per language"),
        pytest.param(load_sets, id="all", marks=pytest.mark.nightly),
    ],
)
def test_columns_of_shop_systems_are_right_or_flagged(sets, settings, tmp_path):
    outcomes = {each.name: _outcome(each, settings, tmp_path) for each in sets()}
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


def _orders(path, statuses: list[str], column: str = "Status") -> str:
    numbered = enumerate(statuses)
    rows = [f"o{n},c{n % 20},2025-01-{n % 28 + 1:02},10.5,{status}\n" for n, status in numbered]
    path.write_text(f"order_id,customer_id,order_date,total,{column}\n{''.join(rows)}")
    return str(path)


def _imported(settings, tmp_path, file: str):
    lake = Lake.open(settings)
    proposal = propose(lake, "events", file)
    (tmp_path / "map.toml").write_text(proposal.text)
    report = import_files(lake, None, settings, "events", [file], tmp_path / "map.toml")
    return proposal, report


def test_import_counts_orders_left_out_by_status(settings, tmp_path):
    file = _orders(tmp_path / "o.csv", ["交易成功"] * 80 + ["交易关闭"] * 15 + ["等待买家付款"] * 5)
    proposal, report = _imported(settings, tmp_path, file)
    assert "15 of 100 orders are 交易关闭: left out" in proposal.text
    expected = [("交易关闭", 15, 100), ("等待买家付款", 5, 100)]
    assert [(one["value"], one["orders"], one["of_orders"]) for one in report.left_out] == expected
    assert (report.rows_accepted, report.rows_filtered, report.rows_quarantined) == (80, 20, 0)


def test_orders_paid_on_delivery_count_although_pending(settings, tmp_path):
    file = _orders(tmp_path / "o.csv", ["pending"] * 70 + ["paid"] * 20 + ["voided"] * 10)
    proposal, report = _imported(settings, tmp_path, file)
    assert report.rows_accepted == 90
    assert [doubt.code for doubt in proposal.doubts] == [DoubtCode.STATUS]


def test_unknown_statuses_count_with_a_warning(settings, tmp_path):
    file = _orders(tmp_path / "o.csv", ["alpha"] * 60 + ["beta"] * 40)
    proposal, report = _imported(settings, tmp_path, file)
    assert report.rows_accepted == 100
    expected = [(DoubtCode.STATUS, "Status")]
    assert [(doubt.code, doubt.column) for doubt in proposal.doubts] == expected
    assert "alpha, beta" in proposal.text


def test_cancelled_orders_with_a_time_are_left_out(settings, tmp_path):
    file = _orders(tmp_path / "o.csv", ["2025-02-01"] * 10 + [""] * 50, "cancelled_at")
    _, report = _imported(settings, tmp_path, file)
    assert (report.rows_accepted, report.rows_filtered) == (50, 10)
    assert report.left_out[0]["value"] == "*"


def test_left_out_rows_are_not_quarantined_for_other_faults(settings, tmp_path):
    path = tmp_path / "o.csv"
    file = _orders(path, ["done"] * 50 + ["cancelled"] * 10)
    path.write_text(path.read_text().replace("o55,c15,2025-01-28,10.5", "o55,c15,2025-01-28,?"))
    _, report = _imported(settings, tmp_path, file)
    assert (report.rows_accepted, report.rows_filtered, report.rows_quarantined) == (50, 10, 0)


@pytest.mark.parametrize("value", ['"Status"', '{ Status = "done" }'])
def test_refuses_a_wrong_list_of_left_out_values(settings, tmp_path, value):
    file = _orders(tmp_path / "o.csv", ["done"] * 30)
    (tmp_path / "map.toml").write_text(f"[events]\nleave_out = {value}\n")
    with pytest.raises(BadInput, match="leave_out"):
        import_files(Lake.open(settings), None, settings, "events", [file], tmp_path / "map.toml")


# ---------------------------------------------------------------- rows and discounts


def test_running_numbers_keep_equal_lines_apart(settings, tmp_path):
    """The next file's numbers begin anew, and neither file hides lines of the other."""
    head = "Row ID,Order ID,Customer ID,Order Date,Product ID,Sales\n"
    lines = [f"o{n // 2},c{n % 9},2025-01-{n // 2 % 28 + 1:02},p{n % 7},5.5\n" for n in range(60)]
    lake, total = Lake.open(settings), 0
    for name, rows in (("a.csv", [*lines, lines[0]]), ("b.csv", [lines[0], lines[0], *lines])):
        path = tmp_path / name
        path.write_text(head + "".join(f"{n + 1},{row}" for n, row in enumerate(rows)))
        if name == "a.csv":
            (tmp_path / "map.toml").write_text(propose(lake, "events", str(path)).text)
        report = import_files(lake, None, settings, "events", [str(path)], tmp_path / "map.toml")
        total += report.rows_accepted
    assert total == 62  # 60 lines, and the first of them three times


def test_discount_rate_becomes_an_amount(settings, tmp_path):
    path = tmp_path / "sales.csv"
    rows = [f"o{n},c{n % 9},2025-01-{n % 28 + 1:02},80,{('0', '0.2')[n % 2]}\n" for n in range(60)]
    path.write_text(f"Order ID,Customer ID,Order Date,Sales,Discount\n{''.join(rows)}")
    proposal, _ = _imported(settings, tmp_path, str(path))
    assert [doubt.code for doubt in proposal.doubts] == [DoubtCode.DISCOUNT_RATE]
    events = Lake.open(settings).table("events").execute()
    assert set(zip(events.amount, events.discount.round(6), strict=True)) == {(80, 0), (80, 20)}
