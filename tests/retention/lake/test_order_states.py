"""Test that the newest state of an order counts, in whatever order its exports are imported."""

import itertools
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from retention.errors import BadInput
from retention.features import build
from retention.lake import Lake
from retention.lake.importing import quarantine
from retention.lake.importing.import_files import import_files
from retention.lake.importing.release import release
from retention.lake.schema import EVENTS
from retention.lake.storage import delta_store
from retention.settings import Settings

MAP = """[events]
leave_out = { "status" = ["refunded", "cancelled", "pending"] }
customer_id = "customer"
occurred_at = "placed"
order_id = "order"
item_id = "sku"
amount = "total"
event_type = { value = "purchase" }
"""
FAR = datetime(2030, 1, 1, tzinfo=UTC)
HOW = pytest.mark.parametrize("how", ["in turn", "the newer first", "one call"])


@pytest.fixture
def desk(settings, tmp_path):
    return Desk(settings, tmp_path)


class Desk:
    """A lake, and exports to import into it."""

    def __init__(self, settings: Settings, folder: Path, text: str = MAP) -> None:
        self.settings, self.folder, self.text = settings, folder, text
        folder.mkdir(parents=True, exist_ok=True)
        self.number, self.lake = itertools.count(), Lake.open(settings)

    def bring(self, *exports: pd.DataFrame, text: str | None = None):
        """Import some exports in one call."""
        path = self.folder / f"map-{next(self.number)}.toml"
        path.write_text(text or self.text)
        files = []
        for export in exports:
            files.append(str(self.folder / f"export-{next(self.number)}.csv"))
            export.to_csv(files[-1], index=False)
        return import_files(self.lake, None, self.settings, "events", files, path)

    def sales(self, before: datetime = FAR) -> dict[tuple[str, str], float]:
        """Sales by order and item, as known before a time."""
        events = self.lake.table("events", before).execute()
        assert not events.event_id.duplicated().any()
        events = events[events.event_type == "purchase"]
        return dict(events.groupby(["order_id", "item_id"]).amount.sum())

    def bring_all(self, exports: list[pd.DataFrame], how: str = "in turn", **options) -> list:
        """Import each export in a call of its own, or all in one call; return the reports."""
        if how == "one call":
            return [self.bring(*exports, **options)]
        in_turn = exports[::-1] if how == "the newer first" else exports
        return [self.bring(each, **options) for each in in_turn]


def on_day(day: int) -> datetime:
    return datetime(2025, 1, day, tzinfo=UTC)


def orders(*rows: tuple) -> pd.DataFrame:
    """Rows of order, day in January 2025, item, total and status (completed); two customers."""
    rows = [(*row, "completed")[:5] for row in rows]
    frame = pd.DataFrame(rows, columns=["order", "placed", "sku", "total", "status"])
    frame["placed"] = [f"2025-01-{day:02} 10:00:00" for day in frame.placed]
    return frame.assign(customer="c" + (frame.order.str[1:].astype(int) % 2).astype(str))


def weekly_exports() -> list[pd.DataFrame]:
    """Two exports of a shop: 300 orders of the first are refunded in the second."""
    rng = np.random.default_rng(31)
    number = np.arange(4_000)
    columns = {
        "order": [f"o{n}" for n in number],
        "customer": [f"c{n}" for n in rng.integers(0, 700, 4_000)],
        "placed": pd.Timestamp("2024-01-01") + pd.to_timedelta(number * 2.5, unit="h"),
        "sku": [f"s{n}" for n in rng.integers(0, 30, 4_000)],
        "total": rng.integers(500, 15_000, 4_000) / 100,
        "status": "completed",
    }
    frame = pd.DataFrame(columns)
    first, second = frame.iloc[:3_900], frame.iloc[2_000:].copy()
    refunded = rng.choice(1_900, 300, replace=False)
    second.iloc[refunded, frame.columns.get_loc("status")] = "refunded"
    return [first, second]


@pytest.mark.nightly
@HOW
def test_later_refunds_replace_earlier_sales(desk, how):
    exports = weekly_exports()
    newest = pd.concat(exports).drop_duplicates("order", keep="last")
    completed = newest[newest.status == "completed"]
    truth = {(row.order, row.sku): row.total for row in completed.itertuples()}
    reports = desk.bring_all(exports, how)
    assert sum(report.orders_superseded for report in reports) == 300
    for report in reports:
        counted = report.rows_accepted + report.rows_duplicate + report.rows_filtered
        assert report.rows_read == counted
    assert desk.sales() == truth
    assert not any(report.rows_accepted for report in desk.bring_all(exports))
    assert desk.sales() == truth


STATES = st.sampled_from(["completed", "refunded", "pending", "dearer", "cheaper", None])


@pytest.mark.nightly
@hypothesis_settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    states=st.lists(st.tuples(STATES, STATES, STATES), min_size=1, max_size=5),
    turn=st.permutations(range(3)),
    calls=st.sampled_from([1, 2, 3]),
)
def test_newest_state_counts_in_any_order_of_import(tmp_path_factory, states, turn, calls):
    """The exports are of 3 weeks; each has a new order, so that one is newer than the other."""
    exports = []
    for week in range(3):
        rows = [(f"o{10 + week}", 20 + week, "new", 1.0)]
        for number, state in enumerate(states):
            if state[week]:
                total = {"dearer": 12.0, "cheaper": 7.5}.get(state[week], 10.0)
                status = state[week] if state[week] in ("refunded", "pending") else "completed"
                rows.append((f"o{number}", 1 + number, "sku", total, status))
        exports.append(orders(*rows))
    folder = tmp_path_factory.mktemp("states")
    desk = Desk(Settings(home=folder / "home", _env_file=None), folder)
    places = np.array_split(np.array(turn), calls)
    for group in places:
        desk.bring(*(exports[week] for week in group))
    every = pd.concat(exports)
    newest = every.drop_duplicates("order", keep="last")
    refunded = set(every.order[every.status == "refunded"])  # for good
    sold = newest[(newest.status == "completed") & ~newest.order.isin(refunded)]
    assert desk.sales() == {(row.order, row.sku): row.total for row in sold.itertuples()}


@pytest.mark.nightly_after(1)
@pytest.mark.parametrize("how", ["in turn", "the newer first"])
def test_past_cutoff_knows_no_later_state(desk, tmp_path, how):
    exports = weekly_exports()
    first = Desk(Settings(home=tmp_path / "first", _env_file=None), tmp_path / "first")
    first.bring(exports[0])
    desk.bring_all(exports, how)
    cutoff = pd.Timestamp(exports[0].placed.max()).tz_localize("UTC").to_pydatetime()
    past, known = (
        build(one.lake, cutoff).execute().sort_values("customer_id").reset_index(drop=True)
        for one in (first, desk)
    )
    assert len(past) > 100
    pd.testing.assert_frame_equal(past, known)


A, B, BACK_A, BACK_B = ("a", 10), ("b", 4), ("a", 10, "refunded"), ("b", 4, "refunded")
# Lines of an order in the exports of three weeks; items and totals known after each week.
HISTORIES = {
    "o1": (([A, B], [A, B], [A, B]), ({"a": 10, "b": 4}, {"a": 10, "b": 4}, {"a": 10, "b": 4})),
    "o2": (([A, B], [A], [A]), ({"a": 10, "b": 4}, {"a": 10}, {"a": 10})),
    "o3": (([A, B], [BACK_A, B], [BACK_A, B]), ({"a": 10, "b": 4}, {"b": 4}, {"b": 4})),
    "o4": (([A, B], [BACK_B], []), ({"a": 10, "b": 4}, {"a": 10}, {"a": 10})),
    "o5": (([A, B, BACK_A], [], []), ({"b": 4}, {"b": 4}, {"b": 4})),
    "o6": (([("a", 10, "pending")], [("a", 12)], [BACK_A]), ({}, {"a": 12}, {})),
    "o7": (([A], [("a", 8)], [("a", 0)]), ({"a": 10}, {"a": 8}, {"a": 0})),
    "o10": (([("new", 1)], [], []), ({"new": 1}, {"new": 1}, {"new": 1})),
    "o11": (([], [("new", 1)], []), ({}, {"new": 1}, {"new": 1})),
    "o12": (([], [], [("new", 1)]), ({}, {}, {"new": 1})),
}
PLACED = {"o10": 10, "o11": 11, "o12": 12}  # days of the newest order of each export


@pytest.mark.nightly
@HOW
def test_newest_state_of_an_order_counts_once_it_is_known(desk, how):
    exports = [
        orders(
            *(
                (order, PLACED.get(order, 1), *line)
                for order, (weeks, _) in HISTORIES.items()
                for line in weeks[week]
            )
        )
        for week in range(3)
    ]
    desk.bring_all(exports, how)
    # Sales count from their own day, and what corrects them only after the export's newest order.
    sold = {(f"o{number}", item): total for number in range(1, 6) for item, total in (A, B)}
    assert desk.sales(on_day(10)) == sold | {("o7", "a"): 10}
    for week in (0, 1, 2) if how == "in turn" else (0, 2):
        known: dict[str, dict] = {order: {} for order in HISTORIES}
        for (order, item), total in desk.sales(on_day(11 + week)).items():
            known[order][item] = total
        assert known == {order: after[week] for order, (_, after) in HISTORIES.items()}


def test_unreadable_line_does_not_end_the_order_s_earlier_line(desk):
    desk.bring(orders(("o1", 1, "a", 10), ("o1", 1, "b", 4), ("o2", 1, "a", 10), ("o2", 1, "b", 4)))
    newer = [("o1", 1, "a", "?"), ("o1", 1, "b", "?"), ("o2", 1, "a", "?"), ("o2", 1, "b", "4")]
    desk.bring(orders(*newer, ("o3", 2, "a", 5)))
    expected = {(order, item): total for order in ("o1", "o2") for item, total in (A, B)}
    assert desk.sales() == expected | {("o3", "a"): 5}


def test_files_that_share_the_lines_of_an_order_add_up(desk):
    parts = [
        orders(("o1", 1, "a", 10), ("o2", 2, "a", 1)),
        orders(("o2", 2, "b", 2), ("o3", 3, "b", 5)),
    ]
    desk.bring(*parts)
    everything = {("o1", "a"): 10, ("o2", "a"): 1, ("o2", "b"): 2, ("o3", "b"): 5}
    assert desk.sales() == everything
    desk.bring(pd.concat(parts))
    assert desk.sales() == everything


@pytest.mark.nightly_after(1)
@pytest.mark.parametrize("how", ["in turn", "one call"])
def test_later_of_two_exports_that_end_with_one_order_wins(desk, how):
    exports = [orders(("o1", 1, "a", total), ("o1", 1, "b", 4)) for total in (10, 12)]
    desk.bring_all(exports, how)
    assert desk.sales() == {("o1", "a"): 12, ("o1", "b"): 4}
    desk.bring_all(exports[:1] if how == "in turn" else exports, how)  # again: nothing new
    assert desk.sales() == {("o1", "a"): 12, ("o1", "b"): 4}


def test_corrected_line_with_an_id_of_its_own_replaces_the_earlier(desk):
    text = MAP + 'event_id = "line"\n'
    exports = [
        orders(("o1", 1, "a", 10), ("o1", 1, "b", 4)),
        orders(("o1", 1, "a", 9), ("o1", 1, "b", 4)),
    ]
    for export in exports:
        export["line"] = ["l1", "l2"]
    desk.bring(exports[0], text=text)
    report = desk.bring(exports[1], text=text)
    assert (report.rows_accepted, report.rows_duplicate) == (1, 1)
    assert desk.sales() == {("o1", "a"): 9, ("o1", "b"): 4}
    other = exports[0].assign(placed="2025-01-20 10:00:00")  # the ids are known: nothing new
    assert desk.bring(other, text=text).rows_accepted == 0


@pytest.mark.nightly_after(1)
@pytest.mark.parametrize("how", ["in turn", "the newer first"])
def test_time_of_change_decides_which_export_is_newer(desk, how):
    text = MAP + 'stated_at = "updated"\n'
    exports = [
        orders(("o1", 1, "a", 10), ("o2", 9, "b", 4)),
        orders(("o1", 1, "a", 10, "refunded")),  # an export of refunds only
    ]
    exports[0]["updated"] = exports[0].placed
    exports[1]["updated"] = "2025-01-05 10:00:00"
    desk.bring(exports[0].tail(1), text=text)  # refunds alone are no shop
    desk.bring_all(exports, how, text=text)
    assert desk.sales() == {("o2", "b"): 4}
    assert ("o1", "a") in desk.sales(on_day(5))


def test_orders_of_an_earlier_version_of_the_desk_are_replaced(desk, monkeypatch):
    now, schema = delta_store.stored_columns, delta_store._schema
    with monkeypatch.context() as patch:
        patch.setattr(delta_store, "stored_columns", lambda table: now(_earlier(table)))
        patch.setattr(delta_store, "_schema", lambda table: schema(_earlier(table)))
        desk.bring(orders(("o1", 1, "a", 10), ("o2", 2, "a", 1)))
    delta = delta_store.open_table(desk.lake.root, EVENTS)
    assert not {"stated_at", "superseded_at"} & {field.name for field in delta.schema().fields}
    assert len(desk.sales()) == 2
    desk.bring(orders(("o1", 1, "a", 10, "refunded"), ("o3", 3, "a", 2)))
    assert desk.sales() == {("o2", "a"): 1, ("o3", "a"): 2}
    assert len(desk.sales(on_day(3))) == 2


def _earlier(table):
    return replace(table, columns=tuple(each for each in table.columns if not each.is_later))


def test_home_behind_a_symbolic_link_takes_a_newer_state(settings, tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "home").symlink_to(tmp_path / "disk")
    desk = Desk(Settings(home=tmp_path / "home", _env_file=None), tmp_path / "files")
    desk.bring(orders(("o1", 1, "a", 10), ("o2", 2, "a", 1)))
    desk.bring(orders(("o1", 1, "a", 10, "refunded"), ("o3", 3, "a", 2)))
    assert desk.sales() == {("o2", "a"): 1, ("o3", "a"): 2}


def test_later_file_without_a_usable_row_is_refused(desk):
    good = orders(("o1", 1, "a", 10), ("o2", 2, "a", 1, "refunded"))
    desk.bring(good)
    with pytest.raises(BadInput):
        desk.bring(good.assign(placed="yesterday"))


# ------------------------------------------- what one file says of an order several times


@pytest.mark.nightly_after(1)
@pytest.mark.parametrize("how", ["in turn", "the newer first"])
@pytest.mark.parametrize("newest", [31, 3], ids=["older", "as old"])
def test_export_of_refunds_alone_ends_sales_of_another_export(desk, newest, how):
    desk.bring(orders(("o4", 1, "b", 4)))  # refunds alone are no shop
    exports = [
        orders(("o1", 3, "a", 10), ("o2", newest, "a", 5)),
        orders(("o1", 3, "a", 10, "refunded")),
    ]
    assert desk.bring_all(exports, how)[-1].orders_superseded == 1
    assert desk.sales() == {("o4", "b"): 4, ("o2", "a"): 5}
    assert not any(report.rows_accepted for report in desk.bring_all(exports))
    assert desk.sales() == {("o4", "b"): 4, ("o2", "a"): 5}
    assert (("o1", "a") in desk.sales(on_day(newest))) == (newest > 3)


def test_refunds_of_a_flag_column_are_final(desk):
    text = MAP.replace('"status" = ["refunded", "cancelled", "pending"]', '"Refunded" = ["true"]')
    sold = orders(("o1", 3, "a", 10, ""), ("o2", 31, "a", 5, "")).assign(Refunded="false")
    refunds = sold.head(1).assign(Refunded="true")
    desk.bring(sold, text=text)
    desk.bring(refunds, text=text)
    assert desk.sales() == {("o2", "a"): 5}


def test_refunded_line_without_an_item_ends_only_itself(desk):
    text = "\n".join(line for line in MAP.splitlines() if "item_id" not in line)
    lines = orders(("o1", 1, "", 10), ("o1", 1, "", 4), ("o1", 1, "", 4, "refunded"))
    desk.bring(lines, text=text)
    assert desk.lake.table("events").execute().amount.tolist() == [10]


def test_newest_entry_of_a_status_log_counts(desk):
    text = MAP + 'stated_at = "updated"\n'
    log = orders(
        ("o1", 1, "a", 10, "pending"),
        ("o1", 1, "a", 10),
        ("o1", 1, "a", 10, "shipped"),
        ("o1", 1, "a", 8, "shipped"),
        ("o1", 1, "a", 8, "refunded"),
        ("o2", 1, "a", 7, "cancelled"),
        ("o2", 1, "a", 7),
        ("o2", 1, "b", 3),
    )
    log["updated"] = [f"2025-01-{day:02} 10:00:00" for day in (1, 3, 5, 7, 9, 2, 4, 2)]
    report = desk.bring(log, text=text)
    assert report.rows_read == report.rows_accepted + report.rows_duplicate + report.rows_filtered
    known = [desk.sales(on_day(day)).get(("o1", "a")) for day in (3, 4, 7, 8, 10)]
    assert known == [None, 10, 10, 8, None]
    assert desk.sales(on_day(4)) == {("o1", "a"): 10, ("o2", "b"): 3}
    newest = {("o2", "a"): 7, ("o2", "b"): 3}
    assert desk.sales() == newest
    desk.bring(log, text=text)
    assert desk.sales() == newest
    later = orders(("o2", 1, "a", 7), ("o2", 1, "b", 2))
    desk.bring(later.assign(updated="2025-01-20 10:00:00"), text=text)
    assert desk.sales() == {("o2", "a"): 7, ("o2", "b"): 2}


def test_refund_that_the_map_does_not_list_counts(desk):
    text = MAP.replace('["refunded", "cancelled", "pending"]', "[]")
    exports = weekly_exports()
    desk.bring(exports[0], text=text)
    report = desk.bring(exports[1], text=text)
    assert report.orders_superseded == 300
    assert [(one["value"], one["orders"]) for one in report.left_out] == [("refunded", 300)]


def test_file_of_refunds_alone_is_refused_and_says_what_to_do(desk):
    with pytest.raises(BadInput, match=r"refunded.*sales first"):
        desk.bring(orders(("o1", 1, "a", 10, "refunded")))


@pytest.mark.nightly_after(1)
@pytest.mark.parametrize("text", [MAP, MAP + 'stated_at = "updated"\n'])
def test_released_line_replaces_the_earlier_line_of_its_order(desk, text):
    old = orders(("o1", 1, "a", 10), ("o1", 1, "b", 4))
    desk.bring(old.assign(updated="2025-01-01"), text=text)
    newer = orders(("o1", 1, "a", "8"), ("o1", 1, "b", "4"), ("o2", 2, "a", "5")).assign(
        updated="2025-01-02 10:00:00"
    )
    faulty = newer.assign(total=newer.total.replace("8", "8 or so"))
    report = desk.bring(faulty, text=text)
    assert report.rows_quarantined == 1
    [path] = quarantine.files(desk.settings)
    frame = pd.read_parquet(path)
    frame["total"] = frame.total.replace("8 or so", "8")
    frame.to_parquet(path)
    assert release(desk.lake, None, desk.settings).rows_accepted == 1
    assert desk.sales() == {("o1", "a"): 8, ("o1", "b"): 4, ("o2", "a"): 5}
    third = orders(("o1", 1, "a", 8), ("o3", 5, "a", 1))
    desk.bring(third.assign(updated="2025-01-05 10:00:00"), text=text)
    assert desk.sales() == {("o1", "a"): 8, ("o2", "a"): 5, ("o3", "a"): 1}
