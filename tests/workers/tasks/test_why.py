"""Test the answer to what was decided about a customer."""

from datetime import timedelta

from sqlalchemy import select

from retention.db.tables import Outbox
from retention.outreach import pauses
from tests.workers.harness import ADMIN, CHANNEL, ask, job
from tests.world import change, scalars
from workers.job_requests import Sweep, Why
from workers.tasks.runner import run_inline, run_job


def test_answer_goes_to_the_admin_and_names_the_list_and_the_exclusions(admin_shop):
    database = admin_shop.database
    listed = run_inline(database, Sweep(tier="low"), user=ADMIN)["cohort"][0]
    who, until = listed["customer_id"], admin_shop.end + timedelta(days=30)
    change(database, pauses.pause, who, ADMIN, until)
    asked = ask(database, Why(customer_id=who), "k", channel=CHANNEL)
    assert run_job(database, asked.id, "test") == "done"
    told = job(database, asked.id).result
    assert told["scores"][0]["churn_probability"] == listed["churn_probability"]
    assert (told["scores"][0]["model_version"], told["campaigns"]) == ("rules", [])
    assert "paused_by_person" in {each["code"] for each in told["exclusions"]}
    posts = scalars(database, select(Outbox))
    assert {post.channel for post in posts if who in str(post.payload)} == {ADMIN}
