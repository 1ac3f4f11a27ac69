"""Stop one process after another with SIGTERM while people type commands.

Lost: a command that was acknowledged without a result, or a process that ends in another way than
by itself with status 0. Doubled: a result that was shown more than once.
"""

import random
import signal
import subprocess
import threading
from collections import Counter

from sqlalchemy import select

from retention.db.tables import Job
from tests.faults.frame import Counts
from tests.faults.nemesis import Nemesis
from tests.faults.processes import installation, people_at_a_desk, settle
from workers.queue.supervisor import Child

STOPPED = "bot", "worker:batch", "tick", "sender"
GRACE = {"worker:batch": 60.0}  # seconds, as in docker-compose.yml
OTHERS = 30.0
PAUSE = 0.15  # seconds between two commands


def count_row(injections: int, seed: int) -> Counts:
    """Stop a process so many times, let everything end, and count."""
    counts, chance, over = Counts(), random.Random(seed), threading.Event()
    with installation() as (database, slack):
        with people_at_a_desk(database, slack, seed) as nemesis:
            typist = threading.Thread(target=_type, args=(nemesis, over))
            typist.start()
            for number in range(injections):
                name = STOPPED[number % len(STOPPED)]
                over.wait(chance.uniform(1.0, 2.0))
                child = next(child for child in nemesis.supervisor.children if child.name == name)
                _stop(child, counts)
                child.failures = 0  # else it would wait longer each time
            over.set()
            typist.join()
            counts.expect(settle(database, with_digest=False), "something is still under way")
        shown = Counter(message["text"] for message in slack.messages("crm"))
        with database.reading() as session:
            states = {key: (job, state) for key, job, state in session.execute(_JOBS)}
    for trigger in nemesis.acknowledged:
        job_id, state = states.get(f"command:{trigger}", ("", "missing"))
        counts.expect(state == "done", f"command {trigger}: {state}")
        times = sum(number for text, number in shown.items() if f"result of {job_id} " in text)
        counts.expect_once(times, f"result of command {trigger}")
    return counts


_JOBS = select(Job.idem_key, Job.id, Job.state)


def _type(nemesis: Nemesis, over: threading.Event) -> None:
    while not over.wait(PAUSE):
        nemesis.type()


def _stop(child: Child, counts: Counts) -> None:
    """Send SIGTERM, and wait for the exit as long as the container's platform does."""
    process = child.process
    if process is None or process.poll() is not None:
        return
    counts.inject()
    process.send_signal(signal.SIGTERM)
    try:
        status: int | str = process.wait(GRACE.get(child.name, OTHERS))
    except subprocess.TimeoutExpired:
        status = "still running"
    counts.expect(status == 0, f"{child.name} after SIGTERM: {status}")
