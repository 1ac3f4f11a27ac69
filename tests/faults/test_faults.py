"""The frame of `make faults`, and a short run of each row."""

import subprocess
import sys
from collections import Counter

import pytest

from tests.faults.frame import ROOT, SQLITE, Counts, Row, table
from tests.faults.table import FAULTS, ROWS

# The real code without one of its guards; the harness must count what that doubles.
WITHOUT = {
    "look into the channel": """
from workers.delivery import slack_client
slack_client.find_post = lambda *_, **__: None
""",
    "fence of the attempt": """
from retention.db.tables import Job
from workers.queue import completion
completion._running = lambda job_id, attempt: (Job.id == job_id,)
""",
    "audit of a decision": """
from retention.campaigns.lifecycle import states
states.record = lambda *_, **__: None
""",
}
COUNT = """
from tests.faults import crash_points, step_kills
try:
    counts = step_kills.count_row(60, 1)
    print(len(counts.doubled) + len(counts.lost))
except crash_points.Failed:  # such as a second row that the database refuses
    print(1)
"""


def test_every_fault_has_enough_injections_in_the_long_run():
    injections = Counter[str]()
    for row in ROWS:
        injections[row.fault] += row.long * len(row.databases)
    assert {fault: injections[fault] for fault in FAULTS if injections[fault] < 200} == {}
    assert injections.total() >= 3000
    assert injections.keys() == FAULTS.keys()


def test_last_line_adds_up_what_all_rows_count():
    row, parts = Row("kill", "a row", "none", 1, 1, 1), [Counts(), Counts()]
    parts[0].inject(hit=False)
    parts[0].expect(False, "nothing is there")
    parts[1].inject()
    parts[1].expect_once(3, "a message")
    lines = table({(row, str(number)): (part, 1.0) for number, part in enumerate(parts)})
    assert lines[-1] == "injections=2 lost=1 doubled=2 hit=1"
    assert [line.strip() for line in lines].count("a message") == 2


def test_row_that_ends_with_an_error_counts_as_lost():
    counts, _ = Row("kill", "a row", "tests.faults.no_such_row", 1, 1, 1).run("ci", SQLITE, 1)
    assert (len(counts.lost), "no_such_row" in counts.lost[0]) == (1, True)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.module.rpartition(".")[2])
def test_row_loses_and_doubles_nothing(row):
    counts, _ = row.run("part", SQLITE, 2)
    assert (counts.lost, counts.doubled) == ([], [])
    assert counts.hit > 0


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("without", WITHOUT)
def test_kills_at_any_statement_show_a_missing_guard(without):
    program = f"{WITHOUT[without]}\n{COUNT}"
    command = [sys.executable, "-c", program]
    answer = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert int(answer.splitlines()[-1]) > 0
