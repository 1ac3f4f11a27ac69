"""The version before the newest migration and today's work on one database, during the upgrade too.

Each version has a process that takes steps on demand: a job that one stores, the other one runs; a
campaign that one drafts, the other one decides. Lost: a step that fails, or whose result the other
version does not see. Doubled: an effect that both versions had.
"""

import json
import os
import random
import subprocess
import sys
import tempfile
import types
from collections import Counter
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

from sqlalchemy import select

from retention import clock
from retention.campaigns.lifecycle.states import Step
from retention.db import Database
from retention.db.migrate import upgrade
from retention.db.tables import Approval, Campaign, Job, Outbox, Run
from retention.settings import Settings
from tests.retention.campaigns.samples import audience_rows, store_draft
from tests.workers.harness import ask, grant
from tests.world import add, change, rows, scalar, scalars
from workers.campaigns import decisions
from workers.job_requests import Sweep
from workers.tasks import runner
from workers.tasks.interface import Outcome, Post

ROOT = Path(__file__).parents[2]
VERSIONS = "retention/db/migrations/versions"
AUTHOR, LEAD = "U0ANALYST", "U0LEAD"


def _schema(database: Database, _name: str) -> str:
    return upgrade(database.settings)


def _store(database: Database, key: str) -> str:
    return ask(database, Sweep(), key).id


def _run(database: Database, job_id: str) -> str:
    return runner.run_job(database, job_id, "t")


def _draft(database: Database, name: str) -> str:
    people = audience_rows(4, name=f"{name}x{{}}".format)
    options = {"by": AUTHOR, "now": clock.now(), "holdout": 0.5}
    return change(database, store_draft, name, people, **options).state


def _submit(database: Database, name: str) -> str:
    return change(database, decisions.submit, Step(name, AUTHOR, 1)).state


def _approve(database: Database, name: str) -> str:
    return change(database, decisions.approve, Step(name, LEAD, 1)).state


STEPS: dict[str, Callable[[Database, str], str]] = {
    "schema": _schema,
    "store": _store,
    "run": _run,
    "draft": _draft,
    "submit": _submit,
    "approve": _approve,
}


def serve(home: str) -> None:
    """Take the steps that standard input names, with the code of this process."""
    name = runner.module_name("sweep")
    module = types.ModuleType(name)
    module.__spec__ = ModuleSpec(name, loader=None)
    module.run = lambda request, context: Outcome(  # type: ignore[attr-defined]
        {}, (Post("job/refused", {"sentence": f"result of {context.job_id}"}),), runs=("scores",)
    )
    sys.modules[name] = module
    database = Database.of(Settings(home=Path(home), admins="U0ADMIN", _env_file=None))
    for line in sys.stdin:
        step, argument = line.split()
        try:
            answer = {"answer": STEPS[step](database, argument)}
        except Exception as error:
            answer = {"error": f"{step} {argument}: {type(error).__name__}: {error}"[:500]}
        print(json.dumps(answer), flush=True)


class Version:
    """A process with the code of a folder."""

    def __init__(self, code: Path, home: str) -> None:
        command = [sys.executable, __file__, home]
        environment = os.environ | {"PYTHONPATH": str(code), "PYTHONSAFEPATH": "1"}
        self.process = subprocess.Popen(
            command,
            cwd=code,
            env=environment,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def ask(self, step: str, argument: str) -> None:
        """Begin a step."""
        assert self.process.stdin
        self.process.stdin.write(f"{step} {argument}\n")
        self.process.stdin.flush()

    def answer(self) -> dict[str, str]:
        """Wait for the end of a step."""
        assert self.process.stdout
        line = self.process.stdout.readline()
        return json.loads(line) if line.startswith("{") else {"error": f"died: {line}"}

    def take(self, step: str, argument: str) -> dict[str, str]:
        """Take a step."""
        self.ask(step, argument)
        return self.answer()


def start_old(folder: Path, home: str) -> Version:
    """Start the newest version before a migration; a commit between two may have no schema."""
    command = ["git", "log", "-10", "--format=%H", "--", VERSIONS]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for commit in listed.split():
        code = folder / commit
        code.mkdir()
        archive = ["git", "archive", f"{commit}^"]
        with subprocess.Popen(archive, cwd=ROOT, stdout=subprocess.PIPE) as packed:
            subprocess.run(["tar", "-x", "-C", str(code)], check=True, stdin=packed.stdout)
        version = Version(code, home)
        if "answer" in version.take("schema", "-"):
            return version
        version.process.kill()
        version.process.wait()
    raise AssertionError("no earlier version starts")


def count_row(injections: int, seed: int) -> Any:
    """Let both versions take so many steps in turn, and count."""
    from tests.faults.frame import Counts  # the old version has none

    chance, counts = random.Random(seed), Counts()
    with tempfile.TemporaryDirectory(prefix="versions") as folder:
        home = f"{folder}/home"
        old, new = both = [start_old(Path(folder), home), Version(ROOT, home)]
        try:
            settings = Settings(home=Path(home), admins="U0ADMIN", _env_file=None)
            database = Database.of(settings)
            people = ((AUTHOR, "analyst"), (LEAD, "approver"))
            add(database, *(grant(settings, person, role) for person, role in people))
            new.ask("schema", "-")  # while the old version goes on
            during = [old.take("store", f"during{number}") for number in range(5)]
            for answer in (*during, new.answer()):
                counts.expect("answer" in answer, answer.get("error", ""))
            for number in range(injections):
                first, second = chance.sample(both, 2)
                counts.inject()
                stored = first.take("store", f"k{number}")
                answers = [stored, second.take("run", stored.get("answer", "-"))]
                if number % 3 == 0:
                    name = f"c{number}"
                    answers += [
                        version.take(step, name)
                        for step, version in (
                            ("draft", first),
                            ("submit", second),
                            ("approve", first),
                        )
                    ]
                for answer in answers:
                    counts.expect("answer" in answer, answer.get("error", ""))
            for answer in during:
                new.take("run", answer.get("answer", "-"))
            _compare(database, counts)
            database.dispose()
        finally:
            for version in both:
                version.process.kill()
                version.process.wait()
    return counts


def _compare(database: Database, counts: Any) -> None:
    published = Counter(scalars(database, select(Run.job_id)))
    messages = Counter(scalars(database, select(Outbox.job_id)))
    for job_id, state in rows(database, select(Job.id, Job.state)):
        counts.expect(state == "done", f"job {job_id} is {state}")
        counts.expect_once(published[job_id], f"rows of {job_id}")
        counts.expect_once(messages[job_id], f"message of {job_id}")
    for campaign_id, state in rows(database, select(Campaign.id, Campaign.state)):
        counts.expect(state == "approved", f"{campaign_id} is {state}")
        own = Approval.campaign_id == campaign_id
        counts.expect_once(len(scalars(database, select(Approval.user_id).where(own))), campaign_id)
    assert scalar(database, select(Job.id).limit(1))


if __name__ == "__main__":
    serve(sys.argv[1])
