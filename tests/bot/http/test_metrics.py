"""Test the metrics, and that alert rules and the dashboard name only metrics that exist."""

import json
import re
from datetime import timedelta
from pathlib import Path

import pytest

from bot.http import health, metrics
from retention import clock
from retention.connect.live import inbox
from retention.db.tables import EventBatch, Job, Process, Schedule, Slot, Source
from tests.world import add
from workers.job_requests import Digest
from workers.queue import live_processes

MONITORING = Path(__file__).parents[3] / "deploy" / "monitoring"
MINUTE = timedelta(minutes=1)


@pytest.fixture
def scraped(database):
    """The metrics as Prometheus reads them: the value of each series."""

    def scrape() -> dict[str, float]:
        text = metrics.exposition(database)[0].decode()
        lines = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
        return {name: float(value) for name, _, value in lines}

    return scrape


@pytest.fixture
def late_event(database):
    at = clock.wall() - 10 * MINUTE
    add(database, EventBatch(kind="events", rows=3, body=inbox.pack([{}]), received_at=at))


def test_age_of_the_oldest_live_event_is_shown(scraped, late_event):
    found = scraped()
    assert found["retention_live_events_waiting"] == 3
    assert 600 <= found["retention_live_oldest_seconds"] < 700


def test_live_path_that_hangs_is_down_although_its_process_reports(database, late_event):
    live_processes.report(database, "live")
    assert health.components(database, True, takes_events=True)["live"]["up"] is False
    with database.transaction() as session:
        session.query(EventBatch).delete()
    assert health.components(database, True, takes_events=True)["live"]["up"] is True


def test_processes_show_their_silence_and_memory(database, scraped):
    live_processes.report(database, "tick")
    old = clock.wall() - 5 * MINUTE
    add(database, Process(name="sender@old", role="sender", seen_at=old, details={}))
    found = scraped()
    assert 300 <= found['retention_process_silent_seconds{name="sender@old",role="sender"}'] < 400
    memory = [value for name, value in found.items() if "memory" in name]
    assert [value > 1e6 for value in memory] == [True]  # an earlier version reports none


def test_durations_of_recent_jobs_are_shown_by_kind(database, scraped):
    now = clock.wall()
    for number, (seconds, ended) in enumerate([(4, now), (2, now), (99, now - 300 * MINUTE)]):
        own = {"id": f"j{number}", "idem_key": f"k{number}", "kind": "sweep", "queue": "batch"}
        started = ended - timedelta(seconds=seconds)
        job = Job(**own, args={}, requested_by="U1", state="done")
        job.started_at, job.finished_at = started, ended
        add(database, job)
    found = scraped()
    assert found['retention_job_seconds_max{kind="sweep"}'] == pytest.approx(4)
    assert found['retention_job_seconds_mean{kind="sweep"}'] == pytest.approx(3)


def test_sources_and_schedules_are_shown(database, scraped):
    own = {"kind": "files", "location": "x", "secrets": b"", "every": "hour", "timezone": "UTC"}
    pulled = clock.now() - 5 * MINUTE
    source = Source(**own, name="orders", created_by="U1", problem="silent", pulled_at=pulled)
    add(database, source)
    values = {"at": "09:00", "timezone": "UTC", "created_by": "U1"}
    schedule = Schedule(kind=Digest.kind, args={}, **values)
    add(database, schedule)
    slot = {"schedule_id": schedule.id, "slot": clock.now().date(), "due_at": clock.now()}
    add(database, Slot(**slot, state="skipped"))
    found = scraped()
    assert found['retention_source_up{source="orders"}'] == 0
    assert found['retention_source_age_seconds{source="orders"}'] >= 299
    assert found['retention_schedules{state="running"}'] == 1
    assert found["retention_slots_skipped"] == 1


@pytest.mark.parametrize("file", ["alerts.yml", "dashboard.json"])
def test_alerts_and_dashboard_name_metrics_that_exist(database, file):
    metrics.observe("/slack/events", 200, 0.1)
    metrics.refused("stranger")
    known = set(re.findall(r"# TYPE (\w+)", metrics.exposition(database)[0].decode()))
    text = (MONITORING / file).read_text(encoding="utf-8")
    named = {name.removesuffix("_bucket") for name in re.findall(r"\bretention_\w+", text)}
    assert named
    assert named <= known


def test_dashboard_has_a_title_and_a_query_in_each_panel():
    panels = json.loads((MONITORING / "dashboard.json").read_text(encoding="utf-8"))["panels"]
    assert len({panel["title"] for panel in panels}) == len(panels)
    assert all(target["expr"] for panel in panels for target in panel["targets"])
