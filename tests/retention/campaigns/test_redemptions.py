"""Codes that were used: judged once, whoever tells of it; by events, files and many at once."""

import threading
from collections import Counter
from datetime import timedelta

import pytest
from sqlalchemy import event, func, select, text

from retention.campaigns.codes import file_imports, redemptions
from retention.campaigns.codes.file_imports import LISTENER, import_redemptions
from retention.campaigns.codes.redemptions import CodeUse, redeem
from retention.campaigns.lifecycle import transitions
from retention.campaigns.lifecycle.states import Step
from retention.db import Database
from retention.db.tables import Coupon, DirectoryEntry, Redemption
from retention.errors import BadInput
from retention.lake import Lake
from retention.lake.importing.import_files import import_files
from retention.privacy.erased import record_erased
from tests.retention.db.conftest import empty, postgres_url  # noqa: F401 - fixtures
from tests.retention.outreach import live_campaigns
from tests.retention.outreach.live_campaigns import NOW
from tests.world import change, rows, scalar, scalars

LATER = NOW + timedelta(days=3)


@pytest.fixture
def codes(database, settings) -> dict[str, str]:
    """Customer → code, of a campaign that is live."""
    live_campaigns.start_campaign(database, settings, 20)
    return _codes(database)


def _codes(database) -> dict[str, str]:
    return dict(rows(database, select(Coupon.customer_id, Coupon.code)))


def _redeem(database, settings, *uses: CodeUse) -> list[str]:
    return change(database, redeem, uses)


def _state(database, code) -> tuple[str, str | None]:
    with database.reading() as session:
        coupon = session.get_one(Coupon, code)
        return coupon.state, coupon.order_id


def test_code_is_redeemed_once_for_any_spelling_and_repeated_reports(database, settings, codes):
    typed = codes["k3"].lower().replace("-", " ")
    use = CodeUse(typed, LATER, "http", "k3", "o1", key="till-7")
    assert _redeem(database, settings, use) == ["redeemed"]
    # The same call: the same answer
    assert _redeem(database, settings, use, use) == ["redeemed", "redeemed"]
    assert _redeem(database, settings, CodeUse(codes["k3"], LATER, "import", "k3", "o1")) == [
        "repeated"
    ]
    assert _redeem(database, settings, CodeUse(codes["k3"], LATER, "event", None, "o2")) == [
        "twice"
    ]
    assert _state(database, codes["k3"]) == ("redeemed", "o1")


def test_use_before_issue_does_not_redeem_the_code(database, settings, codes):
    assert _redeem(
        database, settings, CodeUse(codes["k3"], NOW - timedelta(days=300), "import", "k3", "o1")
    ) == ["unissued"]
    midnight = NOW.replace(hour=0, minute=0)  # a teller who knows the date alone
    assert _redeem(database, settings, CodeUse(codes["k3"], midnight, "import", "k3", "o2")) == [
        "redeemed"
    ]
    # The date of an evening in the far west, taken for one of UTC
    elsewhere = NOW - timedelta(hours=35)
    assert _redeem(database, settings, CodeUse(codes["k5"], elsewhere, "import", "k5", "o3")) == [
        "redeemed"
    ]


def test_use_by_another_customer_keeps_the_code_and_is_reported_once(database, settings, codes):
    assert _redeem(database, settings, CodeUse(codes["k3"], LATER, "http", "k5", "o9")) == [
        "other_customer"
    ]
    assert _state(database, codes["k3"])[0] == "issued"
    assert _redeem(database, settings, CodeUse(codes["k3"], LATER, "http", "k3", "o1")) == [
        "redeemed"
    ]
    with database.transaction() as session:
        assert redemptions.unannounced_misuses(session) == {"c1": {"other_customer": 1}}
        redemptions.mark_misuses_announced(session, "c1")
        assert redemptions.unannounced_misuses(session) == {}
        (wrong,) = redemptions.list_misuses(session, "c1")
    assert (wrong["used_by"], wrong["customer_id"], wrong["outcome"]) == (
        "k5",
        "k3",
        "other_customer",
    )


def test_merged_ids_are_one_customer(database, settings, codes):
    with database.transaction() as session:
        session.add(DirectoryEntry(customer_id="k3", pseudonym="A", canonical_id="web3"))
        session.add(DirectoryEntry(customer_id="web3", pseudonym="B"))
    assert _redeem(database, settings, CodeUse(codes["k3"], LATER, "http", "web3", "o1")) == [
        "redeemed"
    ]


def test_use_read_before_its_customer_was_erased_is_not_stored(database, settings, codes):
    change(database, record_erased, ["k3"], "U0ADMIN", NOW)
    used = CodeUse(codes["k3"], LATER, "event", "k3", "o1", "e1")
    assert _redeem(database, settings, used) == ["unknown"]
    assert not scalars(database, select(Redemption))


def test_expired_void_and_unknown_codes_are_not_redeemed(database, settings, codes):
    late = NOW + timedelta(days=29)
    code, other_code = codes["k3"], codes["k5"]
    swapped = (
        code[1] + code[0] + code[2:]
        if code[0] != code[1]
        else code[:-1] + ("0" if code[-1] != "0" else "1")
    )
    assert _redeem(
        database,
        settings,
        CodeUse(code, late, "http", "k3"),
        CodeUse(swapped, LATER, "http"),
        CodeUse("SPRING10", LATER, "http"),
    ) == ["expired", "unknown", "unknown"]
    change(database, transitions.stop, Step("c1", "U0LEAD", at=NOW), "wrong price")
    assert _redeem(database, settings, CodeUse(other_code, LATER, "http", "k5")) == ["void"]


def test_one_of_many_concurrent_uses_of_a_code_wins(empty):  # noqa: F811 - the fixture
    from retention.db.migrate import upgrade

    upgrade(empty)
    database = Database(empty.database_url.get_secret_value(), empty)
    live_campaigns.start_campaign(database, empty, 20)
    code = _codes(database)["k3"]
    start, outcomes = threading.Barrier(8), Counter()

    def present(number: int) -> None:
        start.wait()
        outcomes.update(
            _redeem(
                database,
                empty,
                CodeUse(code, LATER, "http", None, f"o{number % 4}", key=f"call {number % 6}"),
            )
        )

    threads = [threading.Thread(target=present, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stored = dict(
        rows(database, select(Redemption.outcome, func.count()).group_by(Redemption.outcome))
    )
    database.engine.dispose()
    assert stored["redeemed"] == 1
    assert sum(stored.values()) == 6  # one row for each call, also where it came twice
    assert sum(outcomes.values()) == 8


def test_many_codes_need_few_statements(empty, monkeypatch):  # noqa: F811
    """A PostgreSQL plan cached for empty tables took 133 s for 100,000 codes."""
    from retention.db.migrate import upgrade

    upgrade(empty)
    database = Database(empty.database_url.get_secret_value(), empty)
    live_campaigns.start_campaign(database, empty, 200)
    uses = [
        CodeUse(code, LATER, "import", who, f"o-{who}") for who, code in _codes(database).items()
    ]
    monkeypatch.setattr(redemptions, "BATCH_USES", 9)
    chunks, single = -(-len(uses) // 9), Counter()
    with database.transaction() as session:

        def count(connection, cursor, statement, parameters, context, executemany) -> None:
            single[executemany] += 1

        event.listen(session.connection(), "after_cursor_execute", count)
        assert set(redeem(session, uses)) == {"redeemed"}
        prepared = (
            []
            if database.is_sqlite
            else session.execute(text("TABLE pg_prepared_statements")).all()
        )
    assert chunks == 10
    assert single.total() <= 5 * chunks + 1
    assert single[True] == (chunks if database.is_sqlite else 0)
    assert prepared == []
    assert scalar(
        database, select(func.count()).where(Coupon.order_id == "o-" + Coupon.customer_id)
    ) == len(uses)
    database.engine.dispose()


def test_redemption_file_is_judged_once_and_unknown_codes_are_quarantined(
    database, settings, codes, tmp_path
):
    lake = Lake.open(settings)
    lines = [
        f"{codes['k3']},2025-05-04 10:00:00,k3,o1",
        f"{codes['k5']},2025-05-04 11:00:00,k7,o2",
        "SPRING10,2025-05-04 12:00:00,k9,o3",
        ",2025-05-04 12:00:00,k9,o4",
        f"{codes['k9']},soon,k9,o5",
    ]
    file = tmp_path / "uses.csv"
    file.write_text("\n".join(["code,occurred_at,customer_id,order_id", *lines]))
    report = import_redemptions(lake, database, [str(file)])
    assert (report.rows_read, report.rows_accepted, report.rows_quarantined) == (5, 2, 3)
    assert report.quarantine_text["no code of ours"] == 1
    assert report.redemptions == {"redeemed": 1, "other_customer": 1}
    again = import_redemptions(lake, database, [str(file)])
    assert (again.rows_accepted, again.rows_duplicate, again.redemptions) == (
        0,
        2,
        report.redemptions,
    )
    held = lake.duckdb.execute(
        f"SELECT _reason, code, _remedy FROM read_parquet('{report.quarantine_path}')"
    ).fetchall()
    assert ("no code of ours", "SPRING10") in [row[:2] for row in held]
    assert len(held) == 3
    file.write_text("code,occurred_at\nSPRING10,2025-05-04")
    with pytest.raises(BadInput, match="no code of ours"):
        import_redemptions(lake, database, [str(file)])


def test_two_tills_in_one_file_are_two_uses_and_the_next_file_repeats_them(
    database, settings, codes
):
    """A shared code can be used at two tills within minutes."""
    first = CodeUse(codes["k3"], LATER, "import", "k3")
    second = CodeUse(codes["k3"], LATER + timedelta(minutes=4), "import")
    assert _redeem(database, settings, first, second) == ["redeemed", "twice"]
    # With its order, and by another clock
    again = CodeUse(codes["k3"], LATER + timedelta(seconds=30), "import", None, "o1")
    assert _redeem(database, settings, first, second, again) == ["redeemed", "twice", "repeated"]


def test_import_of_the_same_file_completes_a_killed_import(
    database, settings, codes, tmp_path, monkeypatch
):
    lake, file = Lake.open(settings), tmp_path / "uses.csv"
    lines = [f"{code},2025-05-04 10:00:00,{who},o-{who}" for who, code in sorted(codes.items())]
    file.write_text("\n".join(["code,occurred_at,customer_id,order_id", *lines]))
    whole, batches = len(lines), []

    def killed_in_the_third(session, uses):
        batches.append(len(uses))
        if len(batches) == 3:
            raise KeyboardInterrupt
        return redeem(session, uses)

    monkeypatch.setattr(file_imports, "BATCH_ROWS", 4)
    monkeypatch.setattr(file_imports, "redeem", killed_in_the_third)
    with pytest.raises(KeyboardInterrupt):
        import_redemptions(lake, database, [str(file)])
    assert scalar(database, select(func.count()).select_from(Redemption)) == 8
    monkeypatch.setattr(file_imports, "redeem", redeem)
    again = import_redemptions(lake, database, [str(file)])
    assert (again.rows_accepted, again.rows_duplicate, again.redemptions) == (
        whole - 8,
        8,
        {"redeemed": whole},
    )
    assert {_state(database, code)[0] for code in codes.values()} == {"redeemed"}


def test_events_redeem_codes_and_the_shops_own_coupons_are_ignored(
    database, settings, codes, tmp_path
):
    file = tmp_path / "events.csv"
    file.write_text(
        "event_id,customer_id,event_type,occurred_at,order_id,query\n"
        f"e1,k3,coupon_redeem,2025-05-04 10:00:00,o1,{codes['k3']}\n"
        "e2,k5,coupon_redeem,2025-05-04 10:00:00,o2,SPRING10\n"
        "e3,k7,coupon_redeem,2025-05-04 10:00:00,o3,\n"
    )
    lake = Lake.open(settings)
    for _ in range(2):
        import_files(lake, database, settings, "events", [str(file)], listener=LISTENER)
    assert _state(database, codes["k3"]) == ("redeemed", "o1")
    assert scalars(database, select(Redemption.outcome)) == ["redeemed"]


def test_event_dated_by_day_may_precede_the_hour_of_the_first_campaign(
    database, settings, codes, tmp_path
):
    """Such uses count on the day of the first campaign."""
    file = tmp_path / "events.csv"
    file.write_text(
        "event_id,customer_id,event_type,occurred_at,order_id,query\n"
        f"e1,k3,coupon_redeem,{NOW:%Y-%m-%d} 00:00:00,o1,{codes['k3']}\n"
    )
    import_files(Lake.open(settings), database, settings, "events", [str(file)], listener=LISTENER)
    assert _state(database, codes["k3"]) == ("redeemed", "o1")
