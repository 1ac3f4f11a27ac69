"""Test the erasure of a customer from all tables."""

import secrets
import sqlite3
from datetime import datetime, timedelta

import pandas as pd
import pytest
from sqlalchemy import delete, select, update

from retention import clock, erasure
from retention.audiences import lists
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
from retention.lake.importing.import_log import ImportReport
from retention.lake.schema import TABLES
from retention.lake.storage import delta_store
from retention.lake.storage.delta_store import to_arrow
from retention.outreach import calls, pauses
from retention.privacy import erased, pseudonym
from retention.privacy.redaction import CustomerNames
from tests import shop as tiny
from tests.retention.outreach import live_campaigns as campaigns
from tests.workers.harness import ADMIN, ask, job, job_row
from tests.world import add, change, execute, one, read, rows, scalar, scalars
from workers import action_ids
from workers.campaigns.job_requests import CampaignDeliver, CampaignMisuse, CampaignPreview
from workers.job_requests import CohortCsv, Forget, Score, Sweep, Tidy
from workers.queue import heartbeat, jobs
from workers.retrain_request import Retrain
from workers.tasks.customers import sweep as sweeping
from workers.tasks.runner import run_inline, run_job

NO_ROWS = {"events": 0, "customers": 0, "treatments": 0}
SEARCHES = "customer_id,event_type,occurred_at,query"


@pytest.fixture
def shop(admin_shop) -> tiny.Shop:
    return admin_shop


def _run(shop, request, channel=ADMIN) -> Job:
    key = secrets.token_hex(8)
    stored = ask(shop.database, request, key, channel=channel)
    run_job(shop.database, stored.id, "test")
    return job(shop.database, stored.id)


def _forget(shop, who) -> Job:
    erasing = _run(shop, Forget(customer_id=who))
    assert erasing.error is None
    return erasing


def _rows(shop, who) -> dict[str, int]:
    tables = {name: shop.lake.table(name, identity="stored") for name in NO_ROWS}
    return {
        name: int(table.filter(table.customer_id == who).count().execute())
        for name, table in tables.items()
    }


def _import(shop, table, *lines, **options) -> ImportReport:
    file = shop.settings.home.parent / "more.csv"
    file.write_text("\n".join([*lines, ""]))
    return import_files(shop.lake, shop.database, shop.settings, table, [str(file)], **options)


def _two(shop) -> tuple[str, str, str]:
    """The two busiest customers, and the address of the first."""
    user, other = shop.lake.table("events").execute()["customer_id"].value_counts().index[:2]
    return user, other, _emails(shop)[user]


def _emails(shop) -> pd.Series:
    return shop.lake.table("customers").execute().set_index("customer_id")["email"]


def _feedback(shop, who) -> Feedback:
    given = {"model_version": "m", "user_id": ADMIN, "verdict": "wrong", "as_of": shop.end}
    return Feedback(customer_id=who, **given)


def test_erasure_removes_only_the_customer(shop):
    user, other, email = _two(shop)
    mine, others = _rows(shop, user), _rows(shop, other)
    before = shop.lake.table("events").count().execute()
    assert _run(shop, Score(customer_id=user)).error is None
    campaigns.start_campaign(shop.database, shop.settings, 20)
    with shop.database.transaction() as session:
        session.add(RoleGrant(user_id="U0LEAD", role="approver", granted_by=ADMIN))
        session.add(_feedback(shop, user))
        lists.add_members(session, "staff", [(user, None)], set())
        pauses.pause(session, user, ADMIN, shop.end)
        pauses.add_note(session, user, "calls back", ADMIN, shop.end)
        planned = {"owner": ADMIN, "due_on": None, "outcome": "declined", "note": "angry"}
        calls.save_entry(session, "", user, ADMIN, shop.end, calls.Plan(**planned))
        send = session.scalars(select(Send).where(Send.customer_id == "k3")).one()
        coupon = session.scalars(select(Coupon).where(Coupon.customer_id == "k3")).one()
        send.customer_id = coupon.customer_id = user
        code, sends = coupon.code, len(session.scalars(select(Send)).all())
    report = _import(
        shop,
        "events",
        "customer_id,event_type,occurred_at,query",
        f"{user},purchase,soon,",
        f"x,purchase,soon,{email.upper()} ",
        "y,purchase,soon,z",
        f"{other},view,2025-01-02,",
    )
    assert report.rows_quarantined == 3

    erased_rows = _forget(shop, user).result["erased"]
    counted = ("events", "quarantine", "list_members")
    assert [erased_rows[name] for name in counted] == [mine["events"], 2, 1]
    assert _rows(shop, user) == NO_ROWS
    assert _rows(shop, other) == {**others, "events": others["events"] + 1}
    assert shop.lake.table("events").count().execute() == before + 1 - mine["events"]
    with shop.database.reading() as session:
        assert erasure.remaining_rows(session, [user]) == 0
        assert len(session.scalars(select(Send)).all()) == sends  # counts stay
        assert not [*session.scalars(select(Pause)), *session.scalars(select(Note))]
        (call,) = session.scalars(select(CallEntry))  # counts in its campaign
        assert (call.outcome, call.note) == ("declined", "")
        assert session.get_one(Coupon, code).state == "void"
        kept = [row for table in (Job, Audit, Erasure) for row in session.scalars(select(table))]
        everything = [str(value) for row in kept for value in vars(row).values()]
        shown = [str(row.payload) for row in session.scalars(select(Outbox))]
    assert not [text for text in everything + shown if user in text or email in text]
    assert any("was erased" in text for text in shown)
    held = b"".join(path.read_bytes() for path in quarantine.files(shop.settings))
    assert held
    assert user.encode() not in held
    assert email.encode() not in held


def test_later_file_does_not_bring_an_erased_customer_back(shop):
    user, other, _ = _two(shop)
    _forget(shop, user)
    head = "customer_id,event_type,occurred_at"
    report = _import(shop, "events", head, f"{user},view,2025-02-01", f"{other},view,2025-02-01")
    assert (report.rows_accepted, report.rows_filtered) == (1, 1)
    assert _rows(shop, user) == NO_ROWS
    assert erased.load_erased(shop.database, shop.settings).among([user, other]) == {user}


def test_address_in_the_searches_of_others_is_erased(shop):
    user, other, email = _two(shop)
    typed = [f"Mail {email.upper()}.", "bread", f"x{email}"]
    lines = [f"{other},search,2025-01-02 10:0{place},{text}" for place, text in enumerate(typed)]
    unread = [f"{other},search,soon,mail {email}", f"{other},search,soon,x{email}"]
    _import(shop, "events", SEARCHES, *lines, *unread)
    assert _forget(shop, user).result["erased"]["searches"] == 1
    rows = shop.lake.table("events").filter(lambda row: row.event_type == "search").execute()
    left = rows[rows.customer_id == other]["query"]
    assert {"bread", f"x{email}"} <= set(left)
    assert not [text for text in left.dropna() if text.startswith("Mail")]
    held = [content for path in quarantine.files(shop.settings) for content in _texts(path)]
    assert f"x{email}" in held
    assert f"mail {email}" not in held


def test_second_attempt_erases_the_address_from_searches_of_others(shop, monkeypatch):
    """The address was read from rows that the first attempt had erased already."""
    user, other, email = _two(shop)
    _import(shop, "events", SEARCHES, f"{other},search,2025-01-02,mail {email}")

    def killed(*_):
        raise OSError

    with monkeypatch.context() as broken:
        broken.setattr(delta_store, "clear", killed)
        _run(shop, Forget(customer_id=user))
    _forget(shop, user)
    searched = shop.lake.table("events").execute()["query"].dropna()
    assert not [text for text in searched if email in text]


def _texts(path) -> list[str]:
    return [str(value) for value in pd.read_parquet(path).to_numpy().ravel()]


def test_no_file_of_sqlite_keeps_what_was_erased(shop):
    """The write-ahead log and freed pages kept ids and addresses."""
    user = shop.lake.table("events").execute()["customer_id"].min()
    mark = "calls-back-at-noon"
    change(shop.database, pauses.add_note, user, mark * 20, ADMIN, shop.end)
    files = sorted(shop.settings.home.glob("*.db*"))
    assert any(mark.encode() in path.read_bytes() for path in files)
    _forget(shop, user)
    assert not [path for path in files if path.exists() and mark.encode() in path.read_bytes()]


def test_erasure_keeps_other_customers(shop):
    """Cohorts, previews, misuse lists and refusals kept ids and addresses."""
    swept = _run(shop, Sweep(tier="low", top=50), channel="C0CRM").result["cohort"]
    user, other = (item["customer_id"] for item in swept[:2])
    emails, events = _emails(shop), shop.lake.table("events").execute()
    first = events[events.customer_id == user].occurred_at.min()
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
        uses = [("k7", user, "o1"), ("k9", other, "o2")]
        redeem(session, [CodeUse(codes[by], campaigns.NOW, "http", *use) for by, *use in uses])
    previewed = _run(shop, CampaignPreview(campaign_id="c1"), channel="C0CRM")
    misused = _run(shop, CampaignMisuse(campaign_id="c1"))
    _run(shop, CohortCsv(cohort_id=_job(shop, "sweep").result["cohort_id"]))
    mine, theirs = ([pseudonym(shop.settings.key, who), who, emails[who]] for who in (user, other))
    assert all(name in _everything(shop) for name in mine + theirs)

    _forget(shop, user)
    assert [name for name in mine + theirs if name in _everything(shop)] == theirs
    assert _job(shop, "sweep").result["cohort"] == swept[1:]
    copies, uses = previewed.result["copies"], misused.result["uses"]
    assert len(_job(shop, "campaign_preview").result["copies"]) == len(copies) - 1
    assert len(_job(shop, "campaign_misuse").result["uses"]) == len(uses) - 1 > 0
    assert _job(shop, "score").error == "erased"
    assert scalars(shop.database, select(File.content).where(File.sensitive.is_(True))) == [None]
    # The message of the others is of use still.
    assert action_ids.DRAFT_CAMPAIGN in str(_shown(shop, "sweep"))


def test_placeholder_contacts_identify_no_customer(shop):
    """Erasing a customer with the telephone number "no" changed other cohorts."""
    _run(shop, Sweep(tier="low", top=50), channel="C0CRM")
    head, known = "customer_id,email,phone", "q4,q4@example.com,+31 6 1234 5678"
    _import(shop, "customers", head, "q1,none,no", "q2,unknown,-", "q3,,n/a", known)
    held = [erasure.contact_details(shop.lake, [item]) for item in ("q1", "q2", "q3", "q4")]
    assert [len(details) for details in held] == [0, 0, 0, 2]
    before = _job(shop, "sweep").result, _shown(shop, "sweep")
    assert " no " in str(before)
    _forget(shop, "q1")
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
        lake.write_scores(f"{scored}-1", lambda: [scores])
        return removed

    monkeypatch.setattr(erasure, "erase_from_lake", then_published)
    _forget(shop, user)
    left = set(shop.lake.scores(f"{scored}-1").execute().customer_id)
    assert left == set(scores.customer_id) - {user}


@pytest.mark.parametrize(
    ("table", "columns", "cells"),
    [("events", "event_type,occurred_at", "view,2025-02-01"), ("customers", "name", "A")],
)
def test_running_import_does_not_restore_erased_customers(shop, table, columns, cells):
    def erase_before_writing(done: int, total: int, what: str) -> None:
        if what == f"writing {table}":
            _forget(shop, "c0001")

    lines = f"customer_id,{columns}", f"c0001,{cells}", f"c0002,{cells}"
    report = _import(shop, table, *lines, progress=erase_before_writing)
    assert (report.rows_accepted, report.rows_filtered) == (1, 1)
    assert _rows(shop, "c0001") == NO_ROWS


def test_erasure_interrupts_only_jobs_that_name_customers(shop):
    """Twelve of ids that nobody had let a sweep begin thirteen times."""
    stored = {"cancelled": Sweep(), "sends": CampaignDeliver(campaign_id="c1"), "learns": Retrain()}
    for name, request in {**stored, "names": Score(customer_id="c0002")}.items():
        _runs(shop, name, request, cancel_at=clock.wall() if name == "cancelled" else None)
    going_on = dict.fromkeys(stored, "running")
    for who, state in (("nobody", "running"), ("c0001", "queued")):
        _forget(shop, who)
        assert _states(shop, *stored, "names") == {**going_on, "names": state}


def _runs(shop, name: str, request, **more) -> None:
    """Somebody has begun this job."""
    begun = {"state": "running", "attempt": 1, "worker": "t@elsewhere:1", **more}
    add(shop.database, job_row(shop.settings, name, request, **begun))


def _states(shop, *names: str) -> dict[str, str]:
    return dict(rows(shop.database, select(Job.id, Job.state).where(Job.id.in_(names))))


@pytest.mark.parametrize("lives_in", ["lake", "database"])
def test_job_started_after_erasure_continues(shop, monkeypatch, lives_in):
    """Each erasure took the work of an attempt twice."""
    user = "c0001" if lives_in == "lake" else "only in SQL"
    add(shop.database, _feedback(shop, user))
    _runs(shop, "before", Sweep())
    from_lake, looks, result = erasure.erase_from_lake, [], []

    def then_begun(lake, ids):
        looks.append(ids)
        if len(looks) == 2:
            _runs(shop, "since", Sweep())
            own = select(Feedback.verdict).where(Feedback.customer_id == user)
            result.append(scalar(shop.database, own))
        return from_lake(lake, ids)

    monkeypatch.setattr(erasure, "erase_from_lake", then_begun)
    _forget(shop, user)
    assert _states(shop, "before", "since") == {"before": "queued", "since": "running"}
    assert result == [None]  # what has begun since reads nothing of them


def test_retried_erasure_restarts_jobs_that_read_the_customer(shop, monkeypatch):
    _runs(shop, "sweeps", Sweep())
    execute(shop.database, delete(DirectoryEntry).where(DirectoryEntry.customer_id == "c0001"))

    def dies(*given):
        monkeypatch.undo()
        raise KeyboardInterrupt

    monkeypatch.setattr(erasure, "erase_from_sql", dies)
    with pytest.raises(KeyboardInterrupt):
        _run(shop, Forget(customer_id="c0001"))
    forgotten = _job(shop, "forget")
    with shop.database.transaction() as session:
        # Nothing tells any more that there was somebody.
        assert erasure.remaining_rows(session, ["c0001"]) == 0
        jobs.retry(session, forgotten.id, ADMIN)
    assert _states(shop, "sweeps") == {"sweeps": "running"}
    assert run_job(shop.database, forgotten.id, "test") == "done"
    assert _states(shop, "sweeps") == {"sweeps": "queued"}


def test_erasure_search_does_not_block_writers(shop, monkeypatch):
    """Fifteen sweeps of 18 MB kept everybody's writes waiting for half a minute."""
    user, cohort = "c0001", [{"customer_id": "c0001"}, {"customer_id": "c0002"}]
    result = {"cohort": cohort, "item_id": "c0001"}

    def ended(name: str, at: datetime) -> None:
        done = {"state": "done", "result": result, "finished_at": at}
        add(shop.database, job_row(shop.settings, name, Sweep(), **done))

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
    _forget(shop, user)
    left = scalars(shop.database, select(Job.result).where(Job.id.in_(("old", "late"))))
    assert left == [{**result, "cohort": [{"customer_id": "c0002"}]}] * 2
    assert looked == [result, result]  # the last pass looks at the late one alone


MINE, OTHERS = {"customer_id": "c0001"}, {"customer_id": "c0002"}
DECIDED = {"probability": 1.0, "decided_at": tiny.BEGIN, "decided_by": "import", "seq": 1}
RETURNED = [
    ("scores", MINE | {"as_of": tiny.BEGIN, "model_version": "m", "run_id": "r-1"}),
    ("treatments", MINE | {"campaign_id": "c1", "arm": "treatment", "sent_at": tiny.BEGIN}),
    ("relations", OTHERS | {"other_id": "c0001", "kind": "follow"}),
    ("relations", MINE | {"other_id": "c0002", "kind": "follow"}),
    ("texts", MINE | {"text_id": "t", "occurred_at": tiny.BEGIN, "kind": "ticket", "text": "Late"}),
    ("text_signals", MINE | {"text_id": "t", "occurred_at": tiny.BEGIN, "mood": 0.0}),
    (
        "links",
        OTHERS
        | DECIDED
        | {"same_as": "c0001", "method": "email", "state": "accepted"}
        | {"link_id": "l"},
    ),
]


def test_returned_customer_is_erased_at_night_from_every_store(shop):
    """A late attempt had written the lake, or the directory; three tables of six were searched."""
    _forget(shop, "c0001")
    others = _rows(shop, "c0002")

    def erased_again() -> list[int]:
        return [_run(shop, Tidy()).result["erased_again"] for _ in range(2)]

    for table, row in RETURNED:
        rows = to_arrow(pd.DataFrame([row]), TABLES[table])
        with delta_store.locked(shop.lake.root, TABLES[table]):
            delta_store.append(shop.lake.root, TABLES[table], rows)
        assert erased_again() == [1, 0], table
    add(shop.database, DirectoryEntry(customer_id="c0001", pseudonym="0000-0001"))
    assert erased_again() == [1, 0]
    assert (_rows(shop, "c0001"), _rows(shop, "c0002")) == (NO_ROWS, others)
    assert read(shop.database, erasure.remaining_rows, ["c0001"]) == 0


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
            _forget(shop, second)
        return result

    monkeypatch.setattr(CustomerNames, "redact", then_the_other)
    _forget(shop, first)
    swept = job(shop.database, job_id).result
    assert [element["customer_id"] for element in swept["cohort"]] == others
    assert not {first, second} & set(_everything(shop).split("'"))


def test_second_run_erases_ids_with_deleted_links(shop):
    """Killed before its last transaction, it left the rows of merged ids in SQL for good."""
    known = {"canonical_id": "c0001", "pseudonym": "0000-0001"}
    add(shop.database, DirectoryEntry(customer_id="merged", **known), _feedback(shop, "merged"))
    assert _forget(shop, "c0001").result["ids"] == 2
    assert read(shop.database, erasure.remaining_rows, ["c0001", "merged"]) == 0


def _job(shop, kind) -> Job:
    # The copied shop may have been swept before.
    newest = select(Job).where(Job.kind == kind).order_by(Job.created_at.desc()).limit(1)
    return one(shop.database, newest)


def _shown(shop, kind) -> list[dict]:
    own = Outbox.job_id == _job(shop, kind).id
    return scalars(shop.database, select(Outbox.payload).where(own))


def _everything(shop) -> str:
    """What jobs and messages hold."""
    posts = scalars(shop.database, select(Outbox.payload))
    held = rows(shop.database, select(Job.args, Job.result, Job.error))
    return " ".join(map(str, [*posts, *held]))
