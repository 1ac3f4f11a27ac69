"""Tell an admin what was decided about a customer, by direct message."""

from retention.data_subject.why import decisions_about
from retention.erasure import merged_ids
from retention.lake import Lake, customer_directory
from retention.risk.policy import load_policy
from workers.job_requests import Why
from workers.tasks.interface import Context, Outcome, Post

MOST_CAMPAIGNS = 8  # in a message


def run(request: Why, context: Context) -> Outcome:
    """Collect the rule, the models, the campaigns and the exclusions of a customer."""
    settings = context.settings
    lake, policy = Lake.open(settings), load_policy(settings)
    with context.database.reading() as session:
        customer = customer_directory.find_match(session, request.customer_id).customer_id
        ids = [customer, *(each for each in merged_ids(lake, customer) if each != customer)]
        data = decisions_about(lake, session, policy, ids, context.business_at)
    data["merged"] = request.merged
    shown = data["campaigns"][:MOST_CAMPAIGNS]
    values = {**data, "campaigns": shown, "more": len(data["campaigns"]) - len(shown)}
    # Whoever asked, and never the channel: it names the customer.
    post = Post("customers/why", values, channel=context.channel and context.requested_by)
    return Outcome(data, (post,))
