"""Test the erasure of a customer from all tables."""

import secrets
import sqlite3
from collections.abc import Iterator
from datetime import datetime, timedelta

import pandas as pd
import pytest
from sqlalchemy import delete, select, update

from retention import clock, erasure
from retention.campaigns.codes.redemptions import CodeUse, redeem
from retention.db.tables import (
    Assignment,
    Audit,
    CallEntry,
    Coupon,
    DirectoryEntry,
    Erasure,
    Feedback,
    File,
    Job,
    Note,
    Outbox,
    Pause,
    RoleGrant,
    Run,
    Send,
)
from retention.errors import Conflict
from retention.lake.importing import quarantine
from retention.lake.importing.import_files import import_files
from retention.lake.schema import TABLES
from retention.lake.storage import delta_store
from retention.lake.storage.delta_store import to_arrow
from retention.outreach import calls, pauses
from retention.privacy import erased, pseudonym
from retention.privacy.redaction import CustomerNames
from tests import readonly
from tests import shop as tiny
from tests.retention.outreach import live_campaigns as campaigns
from tests.world import change, one, read, scalar, scalars
from workers import ids
from workers.campaigns.requests import CampaignDeliver, CampaignMisuse, CampaignPreview
from workers.queue import heartbeat, jobs
from workers.requests import CohortCsv, Forget, Retrain, Score, Sweep, Tidy
from workers.tasks.customers import sweep as sweeping
from workers.tasks.runner import run_inline, run_job

ADMIN = "U0ADMIN"


@pytest.fixture
def shop(shop, tmp_path) -> Iterator[tiny.Shop]:
    """A copy of the session's shop, which is read-only."""
    copy = readonly.copy_of(shop, tmp_path / "home", admins=ADMIN)
    clock.configure(fixed=shop.end)
    yield copy
    copy.database.dispose()


def _run(shop, request, user=ADMIN, channel=None) -> Job:
    job = change(
        shop.database,
        jobs.submit,
        request,
        requested_by=user,
        channel=channel or user,
        idem_key=secrets.token_hex(8),
    ).job
    run_job(shop.database, job.id, "test")
    with shop.database.reading() as session:
        return session.get_one(Job, job.id)


def _rows(shop, who) -> dict[str, int]:
    result = {}
    for name in ("events", "customers", "treatments"):
        table = shop.lake.table(name, identity="stored")
        result[name] = int(table.filter(table.customer_id == who).count().execute())
    return result


def test_erasure_removes_only_the_customer(shop, tmp_path):
    events = shop.lake.table("events").execute()
    user, other = events["customer_id"].value_counts().index[:2]
    others, before = _rows(shop, other), len(events)
    mine = _rows(shop, user)
    email = shop.lake.table("customers").execute().set_index("customer_id")["email"][user]
    scored = _run(shop, Score(customer_id=user))
    assert scored.error is None
    with shop.database.transaction() as session:
        session.add(RoleGrant(user_id="U0LEAD", role="approver", granted_by=ADMIN))
        session.add(
            Feedback(
                customer_id=user, model_version="m", user_id=ADMIN, verdict="wrong", as_of=shop.end
            )
        )
        pauses.pause(session, user, ADMIN, shop.end)
        pauses.add_note(session, user, "calls back", ADMIN, shop.end)
        planned = {"owner": ADMIN, "due_on": None, "outcome": "declined", "note": "angry"}
        calls.save_entry(session, "", user, ADMIN, shop.end, calls.Plan(**planned))
    campaigns.start_campaign(shop.database, shop.settings, 20)
    with shop.database.transaction() as session:
        send = session.scalars(select(Send).where(Send.customer_id == "k3")).one()
        coupon = session.scalars(select(Coupon).where(Coupon.customer_id == "k3")).one()
        send.customer_id = coupon.customer_id = user
        code, sends = coupon.code, len(session.scalars(select(Send)).all())
    bad = tmp_path / "bad.csv"
    bad.write_text(
        "customer_id,event_type,occurred_at,query\n"
        f"{user},purchase,soon,\nx,purchase,soon,{email.upper()} \ny,purchase,soon,z\n"
        f"{other},view,2025-01-02,\n"
    )
    report = import_files(shop.lake, shop.database, shop.settings, "events", [str(bad)])
    assert report.rows_quarantined == 3

    job = _run(shop, Forget(customer_id=user))
    assert job.error is None
    assert job.result["erased"]["events"] == mine["events"] > 0
    assert job.result["erased"]["quarantine"] == 2
    assert _rows(shop, user) == {"events": 0, "customers": 0, "treatments": 0}
    assert _rows(shop, other) == {**others, "events": others["events"] + 1}
    assert int(shop.lake.table("events").count().execute()) == before + 1 - mine["events"]
    with shop.database.reading() as session:
        assert erasure.remaining_rows(session, [user]) == 0
        assert len(session.scalars(select(Send)).all()) == sends  # counts stay
        assert not session.scalars(select(Pause)).all()
        assert not session.scalars(select(Note)).all()
        (call,) = session.scalars(select(CallEntry))  # counts in its campaign
        assert (call.outcome, call.note) == ("declined", "")
        assert session.get_one(Coupon, code).state == "void"
        everything = [
            str(value)
            for row in (
                *session.scalars(select(Job)),
                *session.scalars(select(Audit)),
                *session.scalars(select(Erasure)),
            )
            for value in vars(row).values()
        ]
        shown = [str(row.payload) for row in session.scalars(select(Outbox))]
    assert not [text for text in everything if user in text or email in text]
    assert not [text for text in shown if user in text or email in text]
    assert any("was erased" in text for text in shown)
    held = [path.read_bytes() for path in quarantine.files(shop.settings)]
    assert held
    assert not [
        content for content in held if user.encode() in content or email.encode() in content
    ]

    again = tmp_path / "again.csv"  # nor does a later file bring them back
    again.write_text(
        f"customer_id,event_type,occurred_at\n{user},view,2025-02-01\n{other},view,2025-02-01\n"
    )
    report = import_files(shop.lake, shop.database, shop.settings, "events", [str(again)])
    assert (report.rows_accepted, report.rows_filtered) == (1, 1)
    assert _rows(shop, user)["events"] == 0
    assert erased.load_erased(shop.database, shop.settings).among([user, other]) == {user}
    assert {"events", "customers", "treatments", "scores"} <= set(TABLES)


def test_address_in_the_searches_of_others_is_erased(shop, tmp_path):
    events = shop.lake.table("events").execute()
    user, other = events["customer_id"].value_counts().index[:2]
    email = shop.lake.table("customers").execute().set_index("customer_id")["email"][user]
    typed = [f"Mail {email.upper()}.", "bread", f"x{email}"]
    lines = [
        f"{other},search,2025-01-02 10:0{place},{text}" for place, text in enumerate(typed)
    ] + [f"{other},search,soon,mail {email}", f"{other},search,soon,x{email}"]
    new = tmp_path / "searches.csv"
    new.write_text("\n".join(["customer_id,event_type,occurred_at,query", *lines]))
    import_files(shop.lake, shop.database, shop.settings, "events", [str(new)])
    job = _run(shop, Forget(customer_id=user))
    assert (job.error, job.result["erased"]["searches"]) == (None, 1)
    rows = shop.lake.table("events").filter(lambda row: row.event_type == "search").execute()
    left = rows[rows.customer_id == other]["query"]
    assert {"bread", f"x{email}"} <= set(left)
    assert not [text for text in left.dropna() if text.startswith("Mail")]
    held = [content for path in quarantine.files(shop.settings) for content in _texts(path)]
    assert f"x{email}" in held
    assert f"mail {email}" not in held


def test_second_attempt_erases_the_address_from_searches_of_others(shop, tmp_path, monkeypatch):
    """The address was read from rows that the first attempt had erased already."""
    events = shop.lake.table("events").execute()
    user, other = events["customer_id"].value_counts().index[:2]
    email = shop.lake.table("customers").execute().set_index("customer_id")["email"][user]
    new = tmp_path / "searches.csv"
    head = "customer_id,event_type,occurred_at,query"
    new.write_text(f"{head}\n{other},search,2025-01-02,mail {email}\n")
    import_files(shop.lake, shop.database, shop.settings, "events", [str(new)])

    def killed(*_):
        raise OSError

    with monkeypatch.context() as broken:
        broken.setattr(delta_store, "clear", killed)
        _run(shop, Forget(customer_id=user))
    assert _run(shop, Forget(customer_id=user)).error is None
    searched = shop.lake.table("events").execute()["query"].dropna()
    assert not [text for text in searched if email in text]


def _texts(path) -> list[str]:
    return [
        str(value) for column in pd.read_parquet(path).to_dict("list").values() for value in column
    ]


def test_no_file_of_sqlite_keeps_what_was_erased(shop):
    """The write-ahead log and freed pages kept ids and addresses."""
    user = shop.lake.table("events").execute()["customer_id"].min()
    mark = "calls-back-at-noon"
    change(shop.database, pauses.add_note, user, mark * 20, ADMIN, shop.end)
    files = sorted(shop.settings.home.glob("*.db*"))
    assert any(mark.encode() in path.read_bytes() for path in files)
    assert _run(shop, Forget(customer_id=user)).error is None
    assert not [path for path in files if path.exists() and mark.encode() in path.read_bytes()]


def test_erasure_keeps_other_customers(shop):
    """Cohorts, previews, misuse lists and refusals kept ids and addresses."""
    swept = _run(shop, Sweep(tier="low", top=50), channel="C0CRM").result["cohort"]
    user, other = (item["customer_id"] for item in swept[:2])
    emails = shop.lake.table("customers").execute().set_index("customer_id")["email"]
    first = (
        shop.lake.table("events")
        .filter(lambda event: event.customer_id == user)
        .occurred_at.min()
        .execute()
    )
    refused = _run(shop, Score(customer_id=user, as_of=first.to_pydatetime()))
    assert user in refused.error
    clock.configure(fixed=campaigns.NOW)
    campaigns.start_campaign(shop.database, shop.settings, 20)
    with shop.database.transaction() as session:
        for mine, theirs in (("k3", user), ("k5", other)):
            for table in (Assignment, Coupon):
                held = update(table).where(table.customer_id == mine)
                session.execute(held.values(customer_id=theirs))
        codes = dict(session.execute(select(Coupon.customer_id, Coupon.code)).all())
        redeem(
            session,
            [
                CodeUse(codes["k7"], campaigns.NOW, "http", user, "o1"),
                CodeUse(codes["k9"], campaigns.NOW, "http", other, "o2"),
            ],
        )
    previewed = _run(shop, CampaignPreview(campaign_id="c1"), channel="C0CRM")
    misused = _run(shop, CampaignMisuse(campaign_id="c1"))
    _run(shop, CohortCsv(cohort_id=_job(shop, "sweep").result["cohort_id"]))
    named = [
        *(pseudonym(shop.settings.key, customer) for customer in (user, other)),
        user,
        other,
        emails[user],
        emails[other],
    ]
    assert all(name in _everything(shop) for name in named)

    assert _run(shop, Forget(customer_id=user)).error is None
    left = [element for element in named if element in _everything(shop)]
    assert left == [pseudonym(shop.settings.key, other), other, emails[other]]
    assert [customer["customer_id"] for customer in _job(shop, "sweep").result["cohort"]] == [
        customer["customer_id"] for customer in swept[1:]
    ]
    assert (
        len(_job(shop, "campaign_preview").result["copies"]) == len(previewed.result["copies"]) - 1
    )
    assert len(_job(shop, "campaign_misuse").result["uses"]) == len(misused.result["uses"]) - 1 > 0
    assert _job(shop, "score").error == "erased"
    with shop.database.reading() as session:
        lists = session.scalars(
            select(Outbox.payload).where(Outbox.job_id == _job(shop, "sweep").id)
        ).all()
        assert session.scalars(select(File.content).where(File.sensitive.is_(True))).all() == [None]
    assert ids.DRAFT_CAMPAIGN in str(lists)  # the message of the others is of use still


def test_placeholder_contacts_identify_no_customer(shop, tmp_path):
    """Erasing a customer with the telephone number "no" changed other cohorts."""
    _run(shop, Sweep(tier="low", top=50), channel="C0CRM")
    cells = tmp_path / "cells.csv"
    cells.write_text(
        "customer_id,email,phone\nq1,none,no\nq2,unknown,-\nq3,,n/a\n"
        "q4,q4@example.com,+31 6 1234 5678\n"
    )
    import_files(shop.lake, shop.database, shop.settings, "customers", [str(cells)])
    shown = {item: erasure.contact_details(shop.lake, [item]) for item in ("q1", "q2", "q3", "q4")}
    assert {customer: len(held) for customer, held in shown.items()} == {
        "q1": 0,
        "q2": 0,
        "q3": 0,
        "q4": 2,
    }
    before = _job(shop, "sweep").result, _shown(shop, "sweep")
    assert " no " in str(before)
    assert _run(shop, Forget(customer_id="q1")).error is None
    assert (_job(shop, "sweep").result, _shown(shop, "sweep")) == before


@pytest.fixture
def erased_meanwhile(shop, monkeypatch):
    """Makes a sweep read the lake, and everybody with this id be erased before it ends."""
    monkeypatch.setattr(heartbeat, "CHECK_EVERY", 3600.0)  # both run in this thread
    read = sweeping.sweep

    def erase_after(who: str) -> None:
        def slow(*given, **how):
            result = read(*given, **how)
            monkeypatch.setattr(sweeping, "sweep", read)
            _run(shop, Forget(customer_id=who))
            return result

        monkeypatch.setattr(sweeping, "sweep", slow)

    return erase_after


@pytest.mark.nightly
def test_job_that_read_an_erased_customer_restarts(shop, erased_meanwhile):
    """It brought them back: into its cohort, the message and the lake's scores."""
    user = _run(shop, Sweep(tier="low", top=1), channel="C0CRM").result["cohort"][0]["customer_id"]
    erased_meanwhile(user)
    stale = _run(shop, Sweep(tier="low", top=1000), channel="C0CRM")
    assert (stale.state, stale.result, _job(shop, "forget").state) == ("queued", None, "done")
    assert run_job(shop.database, stale.id, "test") == "done"
    swept = {item["customer_id"] for item in _job(shop, "sweep").result["cohort"]}
    assert swept
    assert user not in swept
    run = one(shop.database, select(Run.run_id).where(Run.job_id == stale.id))
    assert user not in set(shop.lake.scores(run).execute().customer_id)
    assert pseudonym(shop.settings.key, user) not in _everything(shop)


def test_terminal_job_that_read_an_erased_customer_fails(shop, erased_meanwhile):
    erased_meanwhile(str(shop.lake.table("events").customer_id.min().execute()))
    with pytest.raises(Conflict, match=r"erased meanwhile.* ask again"):
        run_inline(shop.database, Sweep(tier="low"), user="operator")
    assert _job(shop, "sweep").state == "failed"


def test_rows_written_during_an_erasure_are_erased(shop, monkeypatch):
    from_lake = erasure.erase_from_lake
    scored = _run(shop, Sweep(tier="low", top=50), channel="C0CRM").id
    scores = shop.lake.scores(f"{scored}-1").execute()
    user = scores.customer_id[0]

    def then_published(lake, ids):
        removed = from_lake(lake, ids)
        monkeypatch.setattr(erasure, "erase_from_lake", from_lake)
        lake.write_scores(f"{scored}-1", scores)
        return removed

    monkeypatch.setattr(erasure, "erase_from_lake", then_published)
    assert _run(shop, Forget(customer_id=user)).error is None
    left = set(shop.lake.scores(f"{scored}-1").execute().customer_id)
    assert left == set(scores.customer_id) - {user}


@pytest.mark.parametrize("table", ["events", "customers"])
def test_running_import_does_not_restore_erased_customers(shop, tmp_path, table):
    file, more = (
        tmp_path / "late.csv",
        {"events": ("event_type,occurred_at", "view,2025-02-01"), "customers": ("name", "A")}[
            table
        ],
    )
    file.write_text(f"customer_id,{more[0]}\nc0001,{more[1]}\nc0002,{more[1]}\n")

    def erase_before_writing(done: int, total: int, what: str) -> None:
        if what == f"writing {table}":
            assert _run(shop, Forget(customer_id="c0001")).error is None

    report = import_files(
        shop.lake, shop.database, shop.settings, table, [str(file)], progress=erase_before_writing
    )
    assert (report.rows_accepted, report.rows_filtered) == (1, 1)
    assert _rows(shop, "c0001") == {"events": 0, "customers": 0, "treatments": 0}


def test_jobs_without_customers_continue_during_erasure(shop):
    stored = {"cancelled": Sweep(), "sends": CampaignDeliver(campaign_id="c1"), "learns": Retrain()}
    for name, request in {**stored, "names": Score(customer_id="c0002")}.items():
        _runs(shop, name, request, cancel_at=clock.wall() if name == "cancelled" else None)
    assert _run(shop, Forget(customer_id="c0001")).error is None
    assert _states(shop, *stored, "names") == {
        **dict.fromkeys(stored, "running"),
        "names": "queued",
    }


def _runs(shop, name: str, request, **more) -> None:
    """Somebody has begun this job."""
    with shop.database.transaction() as session:
        session.add(
            Job(
                id=name,
                idem_key=name,
                kind=request.kind,
                queue=request.queue,
                args=request.model_dump(mode="json"),
                team_id=shop.settings.team_id,
                requested_by=ADMIN,
                state="running",
                attempt=1,
                worker="t@elsewhere:1",
                **more,
            )
        )


def _states(shop, *names: str) -> dict[str, str]:
    with shop.database.reading() as session:
        return dict(session.execute(select(Job.id, Job.state).where(Job.id.in_(names))).all())


def test_empty_erasure_interrupts_no_job(shop):
    """Twelve of ids that nobody had let a sweep begin thirteen times."""
    _runs(shop, "sweeps", Sweep())
    assert _run(shop, Forget(customer_id="nobody")).error is None
    assert _states(shop, "sweeps") == {"sweeps": "running"}


@pytest.mark.parametrize("lives_in", ["lake", "database"])
def test_job_started_after_erasure_continues(shop, monkeypatch, lives_in):
    """Each erasure took the work of an attempt twice."""
    user = "c0001" if lives_in == "lake" else "only in SQL"
    with shop.database.transaction() as session:
        session.add(
            Feedback(
                customer_id=user, model_version="m", user_id=ADMIN, verdict="wrong", as_of=shop.end
            )
        )
    _runs(shop, "before", Sweep())
    from_lake, looks, result = erasure.erase_from_lake, [], []

    def then_begun(lake, ids):
        looks.append(ids)
        if len(looks) == 2:
            _runs(shop, "since", Sweep())
            result.append(
                scalar(shop.database, select(Feedback.verdict).where(Feedback.customer_id == user))
            )
        return from_lake(lake, ids)

    monkeypatch.setattr(erasure, "erase_from_lake", then_begun)
    assert _run(shop, Forget(customer_id=user)).error is None
    assert _states(shop, "before", "since") == {"before": "queued", "since": "running"}
    assert result == [None]  # what has begun since reads nothing of them


def test_retried_erasure_restarts_jobs_that_read_the_customer(shop, monkeypatch):
    _runs(shop, "sweeps", Sweep())

    with shop.database.transaction() as session:
        session.execute(delete(DirectoryEntry).where(DirectoryEntry.customer_id == "c0001"))

    def dies(*given):
        monkeypatch.undo()
        raise KeyboardInterrupt

    monkeypatch.setattr(erasure, "erase_from_sql", dies)
    with pytest.raises(KeyboardInterrupt):
        _run(shop, Forget(customer_id="c0001"))
    forgotten = _job(shop, "forget")
    with shop.database.transaction() as session:
        assert (
            erasure.remaining_rows(session, ["c0001"]) == 0
        )  # nothing tells any more that there was somebody
        jobs.retry(session, forgotten.id, ADMIN)
    assert _states(shop, "sweeps") == {"sweeps": "running"}
    assert run_job(shop.database, forgotten.id, "test") == "done"
    assert _states(shop, "sweeps") == {"sweeps": "queued"}


def test_erasure_search_does_not_block_writers(shop, monkeypatch):
    """Fifteen sweeps of 18 MB kept everybody's writes waiting for half a minute."""
    user, result = (
        "c0001",
        {"cohort": [{"customer_id": "c0001"}, {"customer_id": "c0002"}], "item_id": "c0001"},
    )
    held = {
        "team_id": shop.settings.team_id,
        "kind": "sweep",
        "queue": "batch",
        "args": {},
        "requested_by": ADMIN,
        "state": "done",
    }

    def ended(name: str, at: datetime) -> None:
        with shop.database.transaction() as session:
            session.add(Job(id=name, idem_key=name, result=result, finished_at=at, **held))

    ended("old", clock.wall() - timedelta(hours=1))
    redact, from_quarantine = CustomerNames.redact, erasure.erase_from_quarantine

    def watched(self, data, **how):
        if data and "cohort" in data:
            looked.append(data)
        if data == result and not late:
            other = sqlite3.connect(shop.settings.home / "state.db", timeout=0)
            other.execute("BEGIN IMMEDIATE")  # "database is locked", where the erasure has it
            other.close()
        return redact(self, data, **how)

    def meanwhile(*given):
        ended("late", clock.wall())
        late.append(True)
        return from_quarantine(*given)

    looked, late = [], []
    monkeypatch.setattr(CustomerNames, "redact", watched)
    monkeypatch.setattr(erasure, "erase_from_quarantine", meanwhile)
    assert _run(shop, Forget(customer_id=user)).error is None
    left = scalars(shop.database, select(Job.result).where(Job.id.in_(("old", "late"))))
    assert left == [{**result, "cohort": [{"customer_id": "c0002"}]}] * 2
    assert looked == [result, result]  # the last pass looks at the late one alone


def test_returned_customer_is_erased_at_night(shop):
    """A late attempt had written the lake, or the directory was filled from it."""
    user = "c0001"
    lines = (
        shop.lake.table("events").filter(lambda event: event.customer_id == user).limit(1).execute()
    )
    assert _run(shop, Forget(customer_id=user)).error is None
    others = _rows(shop, "c0002")
    shop.lake.upsert(
        "treatments",
        pd.DataFrame(
            {
                "campaign_id": ["c1"],
                "customer_id": [user],
                "arm": ["treatment"],
                "sent_at": list(lines.occurred_at),
            }
        ),
    )
    with shop.database.transaction() as session:
        session.add(DirectoryEntry(customer_id=user, pseudonym="0000-0001"))
    for again in (1, 0):
        assert _run(shop, Tidy()).result["erased_again"] == again
        assert _rows(shop, user) == {"events": 0, "customers": 0, "treatments": 0}
        assert read(shop.database, erasure.remaining_rows, [user]) == 0
    assert _rows(shop, "c0002") == others


@pytest.mark.parametrize(
    ("table", "row"),
    [
        ("scores", {"customer_id": "c0001", "as_of": clock.wall(), "model_version": "m"}),
        ("relations", {"customer_id": "c0002", "other_id": "c0001", "kind": "follow"}),
        ("relations", {"customer_id": "c0001", "other_id": "c0002", "kind": "follow"}),
        (
            "links",
            {
                "link_id": "l",
                "customer_id": "c0002",
                "same_as": "c0001",
                "method": "email",
                "probability": 1.0,
                "state": "accepted",
                "decided_at": clock.wall(),
                "decided_by": "import",
                "seq": 1,
            },
        ),
    ],
)
def test_returned_customers_are_searched_in_all_stores(shop, table, row):
    """Three tables of six were searched."""
    assert _run(shop, Forget(customer_id="c0001")).error is None
    rows = to_arrow(
        pd.DataFrame([{**row, "run_id": "r-1"} if table == "scores" else row]), TABLES[table]
    )
    with delta_store.locked(shop.lake.root, TABLES[table]):
        delta_store.append(shop.lake.root, TABLES[table], rows)
    assert [_run(shop, Tidy()).result["erased_again"] for _ in range(2)] == [1, 0]


@pytest.mark.nightly
def test_concurrent_erasures_do_not_restore_customers(shop, monkeypatch):
    """Each wrote what it had read before the other had written."""
    job_id = _run(shop, Sweep(tier="low", top=50), channel="C0CRM").id
    first, second, *others = (item["customer_id"] for item in _job(shop, "sweep").result["cohort"])
    redact = CustomerNames.redact

    def then_the_other(self, data):
        result = redact(self, data)
        if data and "cohort" in data:
            monkeypatch.setattr(CustomerNames, "redact", redact)
            assert _run(shop, Forget(customer_id=second)).error is None
        return result

    monkeypatch.setattr(CustomerNames, "redact", then_the_other)
    assert _run(shop, Forget(customer_id=first)).error is None
    with shop.database.reading() as session:
        swept = session.get_one(Job, job_id).result
    assert [element["customer_id"] for element in swept["cohort"]] == others
    assert not {first, second} & set(_everything(shop).split("'"))


def test_second_run_erases_ids_with_deleted_links(shop):
    """Killed before its last transaction, it left the rows of merged ids in SQL for good."""
    with shop.database.transaction() as session:
        session.add(
            DirectoryEntry(customer_id="merged", canonical_id="c0001", pseudonym="0000-0001")
        )
        session.add(
            Feedback(
                customer_id="merged",
                model_version="m",
                user_id=ADMIN,
                verdict="wrong",
                as_of=shop.end,
            )
        )
    assert _run(shop, Forget(customer_id="c0001")).result["ids"] == 2
    assert read(shop.database, erasure.remaining_rows, ["c0001", "merged"]) == 0


def _job(shop, kind) -> Job:
    with shop.database.reading() as session:
        newest = select(Job).where(Job.kind == kind).order_by(Job.created_at.desc()).limit(1)
        return session.scalars(newest).one()  # the copied shop may have been swept before


def _shown(shop, kind) -> list[dict]:
    return scalars(
        shop.database, select(Outbox.payload).where(Outbox.job_id == _job(shop, kind).id)
    )


def _everything(shop) -> str:
    """What jobs and messages hold."""
    with shop.database.reading() as session:
        held = [
            *session.scalars(select(Outbox.payload)),
            *session.execute(select(Job.args, Job.result, Job.error)),
        ]
    return " ".join(map(str, held))


def test_only_admins_erase(shop):
    refused = _run(shop, Forget(customer_id="c0001"), user="U0ANALYST")
    assert (refused.state, "admin" in refused.error) == ("failed", True)
