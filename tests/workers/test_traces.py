"""One trace leads from a slash command through bot, worker and sender to the post."""

import gzip
import http.server
import json
import re
import threading
from contextlib import contextmanager
from http.client import HTTPConnection

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from sqlalchemy import select

from bot.playground.server import free_port
from retention.db import Database
from retention.db.migrate import upgrade
from retention.db.tables import Job
from retention.settings import Settings
from tests.bot.wire import signature, slash_command
from tests.standins.slack import StandIn
from tests.workers.harness import ADMIN, CHANNEL, running, wait
from tests.world import scalars
from workers.delivery import outbox
from workers.queue import jobs

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
# Which logger of which process tells of a job.
LOGGERS = {"workers.queue.jobs", "workers.tasks.runner", "workers.delivery.sender"}
SPANS = {
    "slack.request": "retention-bot",
    "job.submit": "retention-bot",
    "job.run": "retention-worker",
    "job.wait": "retention-worker",
    "message.post": "retention-sender",
}


class Collector(http.server.BaseHTTPRequestHandler):
    """A collector of OTLP over HTTP; the server keeps service and span."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        is_packed = self.headers.get("Content-Encoding") == "gzip"
        request = ExportTraceServiceRequest.FromString(gzip.decompress(body) if is_packed else body)
        for resource in request.resource_spans:
            named = {each.key: each.value.string_value for each in resource.resource.attributes}
            for scope in resource.scope_spans:
                self.server.spans += [(named["service.name"], span) for span in scope.spans]
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        """Say nothing."""


@contextmanager
def collector():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Collector) as server:
        server.spans = []
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def type_command(port, text, secret):
    body = slash_command(text, ADMIN, channel_id=CHANNEL)
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("POST", "/slack/events", body, signature(body, secret=secret) | FORM)
    assert connection.getresponse().status == 200
    connection.close()


def is_idle(database, count):
    with database.reading() as session:
        is_posted = not session.scalar(outbox.undelivered())
        return is_posted and len(jobs.recent(session)) == count and not jobs.open_jobs(session)


@pytest.mark.desk
@pytest.mark.nightly
@pytest.mark.timeout(600)
def test_logs_spans_and_reference_of_a_command_share_one_trace(tmp_path, monkeypatch, capfd):
    with StandIn.start(strict=False) as slack, collector() as server:
        port = free_port()
        ours = {"RETENTION_PORT": str(port), "RETENTION_HEALTH_PORT": str(free_port())}
        ours |= {"RETENTION_ADMINS": ADMIN, "RETENTION_LOG_FORMAT": "json", **slack.environment}
        ours["OTEL_EXPORTER_OTLP_ENDPOINT"] = f"http://127.0.0.1:{server.server_port}"
        for name, value in ours.items():
            monkeypatch.setenv(name, value)
        settings = Settings(home=tmp_path, admins=ADMIN, _env_file=None)
        upgrade(settings)
        database = Database.of(settings)
        secret = slack.environment["SLACK_SIGNING_SECRET"]
        with running(settings, database, "bot", "worker", "tick", "sender"):
            wait(lambda: is_listening(port))
            type_command(port, "sweep --top 1", secret)
            type_command(port, "sweep --top 13", secret)  # the stand-in fails with 13
            wait(lambda: is_idle(database, 2))
        texts = json.dumps(slack.messages("crm"))
        failed, done = scalars(database, select(Job).order_by(Job.state.desc()))
        database.dispose()
    references = set(re.findall(r"[0-9a-f]{32}", texts))
    assert references == {failed.reference} == {failed.traceparent.split("-")[1]}
    entries = [json.loads(line) for line in capfd.readouterr().out.splitlines() if line[:1] == "{"]
    for job in (failed, done):
        trace_id = job.traceparent.split("-")[1]
        told = [entry for entry in entries if entry.get("trace_id") == trace_id]
        assert {entry["logger"] for entry in told} >= LOGGERS
        assert {entry["job"] for entry in told if "job" in entry} == {job.id}
        spans = [(service, one) for service, one in server.spans if one.trace_id.hex() == trace_id]
        assert {one.name: service for service, one in spans} == SPANS
        ids = {one.span_id for _, one in spans}
        roots = [one.name for _, one in spans if one.parent_span_id not in ids]
        assert roots == ["slack.request"]
    assert any("ZeroDivisionError" in each.get("trace", "") for each in told_of(entries, failed))
    errors = [one.name for _, one in server.spans if one.status.code == 2]
    assert errors == ["job.run"]
    exported = b"".join(one.SerializeToString() for _, one in server.spans)
    assert not [word for word in (b"secret detail", ADMIN.encode()) if word in exported]


def told_of(entries, job):
    return [entry for entry in entries if entry.get("trace_id") == job.reference]


def is_listening(port):
    try:
        HTTPConnection("127.0.0.1", port, timeout=5).connect()
    except OSError:
        return False
    return True
