"""Codes that were used: judged once, whoever tells of it; by events, files and many at once."""

import threading
from collections import Counter
from datetime import timedelta

import pandas as pd
import pytest
from sqlalchemy import event, select, text

from retention.campaigns.codes import redemptions
from retention.campaigns.codes.redemptions import CodeUse, redeem
from retention.campaigns.lifecycle import decisions
from retention.campaigns.lifecycle.states import Step
from retention.campaigns.measurement import redemption_and_bounce_files
from retention.campaigns.measurement.redemption_and_bounce_files import (
    LISTENER,
    import_rows,
    redemption_rows,
)
from retention.db import Database
from retention.db.migrate import upgrade
from retention.db.tables import Coupon, DirectoryEntry, Redemption
from retention.errors import BadInput
from retention.lake import Lake
from retention.lake.importing.import_files import import_files
from retention.privacy.erased import record_erased
from tests.retention.db.conftest import empty, postgres_url  # noqa: F401 - fixtures
from tests.retention.outreach import live_campaigns
from tests.retention.outreach.live_campaigns import NOW
from tests.world import add, change, read, rows, scalars

LATER = NOW + timedelta(days=3)


@pytest.fixture
def codes(database, settings) -> dict[str, str]:
    """Customer → code, of a campaign that is live."""
    live_campaigns.start_campaign(database, settings, 20)
    return _codes(database)


def _codes(database) -> dict[str, str]:
    return dict(rows(database, select(Coupon.customer_id, Coupon.code)))


def _used(database, code, by=None, order=None, at=LATER, source="import") -> str:
    """How one use is judged."""
    (outcome,) = change(database, redeem, [CodeUse(code, at, source, by, order)])
    return outcome


def _state(database, code) -> tuple[str, str | None]:
    (row,) = rows(database, select(Coupon.state, Coupon.order_id).where(Coupon.code == code))
    return tuple(row)


def test_code_is_redeemed_once_for_any_spelling_and_repeated_reports(database, codes):
    code = codes["k3"]
    use = CodeUse(code.lower().replace("-", " "), LATER, "http", "k3", "o1", key="till-7")
    assert change(database, redeem, [use]) == ["redeemed"]
    # The same call: the same answer
    assert change(database, redeem, [use, use]) == ["redeemed", "redeemed"]
    assert _used(database, code, "k3", "o1") == "repeated"
    assert _used(database, code, None, "o2", source="event") == "twice"
    assert _state(database, code) == ("redeemed", "o1")


def test_use_before_issue_does_not_redeem_the_code(database, codes):
    code = codes["k3"]
    assert _used(database, code, "k3", "o1", NOW - timedelta(days=300)) == "unissued"
    midnight = NOW.replace(hour=0, minute=0)  # a teller who knows the date alone
    assert _used(database, code, "k3", "o2", midnight) == "redeemed"
    # The date of an evening in the far west, taken for one of UTC
    assert _used(database, codes["k5"], "k5", "o3", NOW - timedelta(hours=35)) == "redeemed"


def test_use_by_another_customer_keeps_the_code_and_is_reported_once(database, codes):
    assert _used(database, codes["k3"], "k5", "o9") == "other_customer"
    assert _state(database, codes["k3"])[0] == "issued"
    assert _used(database, codes["k3"], "k3", "o1") == "redeemed"
    assert read(database, redemptions.unannounced_misuses) == {"c1": {"other_customer": 1}}
    change(database, redemptions.mark_misuses_announced, "c1")
    assert read(database, redemptions.unannounced_misuses) == {}
    (wrong,) = read(database, redemptions.list_misuses, "c1")
    expected = {"used_by": "k5", "customer_id": "k3", "outcome": "other_customer"}
    assert wrong.items() >= expected.items()


def test_merged_ids_are_one_customer(database, codes):
    merged = DirectoryEntry(customer_id="k3", pseudonym="A", canonical_id="web3")
    add(database, merged, DirectoryEntry(customer_id="web3", pseudonym="B"))
    assert _used(database, codes["k3"], "web3", "o1") == "redeemed"


def test_use_read_before_its_customer_was_erased_is_not_stored(database, codes):
    change(database, record_erased, ["k3"], "U0ADMIN", NOW)
    assert _used(database, codes["k3"], "k3", "o1", source="event") == "unknown"
    assert not scalars(database, select(Redemption))


def test_expired_void_and_unknown_codes_are_not_redeemed(database, codes):
    code = codes["k3"]
    last = "0" if code[-1] != "0" else "1"
    assert _used(database, code, "k3", at=NOW + timedelta(days=29)) == "expired"
    for unknown in (code[:-1] + last, "SPRING10"):
        assert _used(database, unknown) == "unknown"
    change(database, decisions.stop, Step("c1", "U0LEAD", at=NOW), "wrong price")
    assert _used(database, codes["k5"], "k5") == "void"


@pytest.fixture
def migrated(empty):  # noqa: F811 - the fixture
    """An empty database of each kind, after its migrations."""
    upgrade(empty)
    database = Database(empty.database_url.get_secret_value(), empty)
    yield database
    database.engine.dispose()


def test_one_of_many_concurrent_uses_of_a_code_wins(migrated):
    live_campaigns.start_campaign(migrated, migrated.settings, 20)
    code = _codes(migrated)["k3"]
    start, outcomes = threading.Barrier(8), Counter()

    def present(number: int) -> None:
        start.wait()
        use = CodeUse(code, LATER, "http", None, f"o{number % 4}", key=f"call {number % 6}")
        outcomes.update(change(migrated, redeem, [use]))

    threads = [threading.Thread(target=present, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stored = Counter(scalars(migrated, select(Redemption.outcome)))
    assert stored["redeemed"] == 1
    assert stored.total() == 6  # one row for each call, also where it came twice
    assert outcomes.total() == 8


def test_many_codes_need_few_statements(migrated, monkeypatch):
    """A PostgreSQL plan cached for empty tables took 133 s for 100,000 codes."""
    live_campaigns.start_campaign(migrated, migrated.settings, 200)
    uses = [
        CodeUse(code, LATER, "import", who, f"o-{who}") for who, code in _codes(migrated).items()
    ]
    monkeypatch.setattr(redemptions, "BATCH_USES", 9)
    chunks, single, prepared = -(-len(uses) // 9), Counter(), []
    with migrated.transaction() as session:

        def count(connection, cursor, statement, parameters, context, executemany) -> None:
            single[executemany] += 1

        event.listen(session.connection(), "after_cursor_execute", count)
        assert set(redeem(session, uses)) == {"redeemed"}
        if not migrated.is_sqlite:
            prepared = session.execute(text("TABLE pg_prepared_statements")).all()
    assert chunks == 10
    assert single.total() <= 5 * chunks + 1
    assert single[True] == (chunks if migrated.is_sqlite else 0)
    assert prepared == []
    by_owner = select(Coupon.code).where(Coupon.order_id == "o-" + Coupon.customer_id)
    assert len(scalars(migrated, by_owner)) == len(uses)


@pytest.fixture
def imported(database, settings, tmp_path):
    """``imported(*lines)``: the report of a file with these uses."""
    file = tmp_path / "uses.csv"

    def done(*lines: str):
        file.write_text("\n".join(["code,occurred_at,customer_id,order_id", *lines]))
        return import_rows(Lake.open(settings), database, redemption_rows(), [str(file)])

    return done


def test_redemption_file_is_judged_once_and_unknown_codes_are_quarantined(
    settings, codes, imported
):
    lines = [
        f"{codes['k3']},2025-05-04 10:00:00,k3,o1",
        f"{codes['k5']},2025-05-04 11:00:00,k7,o2",
        "SPRING10,2025-05-04 12:00:00,k9,o3",
        ",2025-05-04 12:00:00,k9,o4",
        f"{codes['k9']},soon,k9,o5",
    ]
    report = imported(*lines)
    assert (report.rows_read, report.rows_accepted, report.rows_quarantined) == (5, 2, 3)
    assert report.quarantine_text["no code of ours"] == 1
    judged = {"redeemed": 1, "other_customer": 1}
    again = imported(*lines)
    assert (again.rows_accepted, again.rows_duplicate) == (0, 2)
    assert again.redemptions == report.redemptions == judged
    held = pd.read_parquet(report.quarantine_path)
    assert len(held) == 3
    assert list(held.loc[held["_reason"] == "no code of ours", "code"]) == ["SPRING10"]
    with pytest.raises(BadInput, match="no code of ours"):
        imported("SPRING10,2025-05-04,,")


def test_two_tills_in_one_file_are_two_uses_and_the_next_file_repeats_them(database, codes):
    """A shared code can be used at two tills within minutes."""
    first = CodeUse(codes["k3"], LATER, "import", "k3")
    second = CodeUse(codes["k3"], LATER + timedelta(minutes=4), "import")
    assert change(database, redeem, [first, second]) == ["redeemed", "twice"]
    # With its order, and by another clock
    again = CodeUse(codes["k3"], LATER + timedelta(seconds=30), "import", None, "o1")
    outcomes = change(database, redeem, [first, second, again])
    assert outcomes == ["redeemed", "twice", "repeated"]


def test_import_of_the_same_file_completes_a_killed_import(database, codes, imported, monkeypatch):
    lines = [f"{code},2025-05-04 10:00:00,{who},o-{who}" for who, code in sorted(codes.items())]
    batches = []

    def killed_in_the_third(session, uses):
        batches.append(len(uses))
        if len(batches) == 3:
            raise KeyboardInterrupt
        return redeem(session, uses)

    monkeypatch.setattr(redemption_and_bounce_files, "BATCH_ROWS", 4)
    with monkeypatch.context() as killed:
        killed.setattr(redemption_and_bounce_files, "redeem", killed_in_the_third)
        with pytest.raises(KeyboardInterrupt):
            imported(*lines)
    assert len(scalars(database, select(Redemption))) == 8
    again = imported(*lines)
    assert (again.rows_accepted, again.rows_duplicate) == (len(lines) - 8, 8)
    assert again.redemptions == {"redeemed": len(lines)}
    assert set(scalars(database, select(Coupon.state))) == {"redeemed"}


def _import_events(database, file, *lines: str) -> None:
    columns = "event_id,customer_id,event_type,occurred_at,order_id,query"
    file.write_text("\n".join([columns, *lines]))
    lake = Lake.open(database.settings)
    import_files(lake, database, database.settings, "events", [str(file)], listener=LISTENER)


def test_events_redeem_codes_and_the_shops_own_coupons_are_ignored(database, codes, tmp_path):
    lines = [
        f"e1,k3,coupon_redeem,2025-05-04 10:00:00,o1,{codes['k3']}",
        "e2,k5,coupon_redeem,2025-05-04 10:00:00,o2,SPRING10",
        "e3,k7,coupon_redeem,2025-05-04 10:00:00,o3,",
    ]
    for _ in range(2):
        _import_events(database, tmp_path / "events.csv", *lines)
    assert _state(database, codes["k3"]) == ("redeemed", "o1")
    assert scalars(database, select(Redemption.outcome)) == ["redeemed"]


def test_event_dated_by_day_may_precede_the_hour_of_the_first_campaign(database, codes, tmp_path):
    """Such uses count on the day of the first campaign."""
    line = f"e1,k3,coupon_redeem,{NOW:%Y-%m-%d} 00:00:00,o1,{codes['k3']}"
    _import_events(database, tmp_path / "events.csv", line)
    assert _state(database, codes["k3"]) == ("redeemed", "o1")
