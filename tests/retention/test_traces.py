"""Traces have ids without OpenTelemetry, and log lines show them."""

import json
import logging
import re
import threading

from retention import traces
from retention.logs import LineFormatter, json_formatter

RECORD = logging.LogRecord("shop", logging.INFO, __file__, 1, "done", (), None)


def test_spans_below_a_stored_parent_share_its_trace():
    with traces.span("request"):
        stored = traces.traceparent()
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-01", stored)
    with traces.span("run", stored, job="j"), traces.span("part"):
        assert traces.traceparent() != stored
        assert traces.log_fields() == {"trace_id": stored.split("-")[1], "job": "j"}
        assert traces.reference(KeyError()) == stored.split("-")[1]
    assert traces.log_fields() == {}


def test_log_lines_of_both_formats_show_the_trace_and_json_its_job():
    with traces.span("run", job="j"):
        trace_id = traces.log_fields()["trace_id"]
        assert trace_id in LineFormatter().format(RECORD)
        entry = json.loads(json_formatter().format(RECORD))
    assert (entry["trace_id"], entry["job"], entry["message"]) == (trace_id, "j", "done")
    assert "trace_id" not in json.loads(json_formatter().format(RECORD))


def test_a_carried_function_keeps_its_trace_in_another_thread():
    seen = []
    with traces.span("request"):
        trace_id = traces.log_fields()["trace_id"]
        run = traces.carried(lambda: seen.append(traces.log_fields()["trace_id"]))
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [trace_id]
