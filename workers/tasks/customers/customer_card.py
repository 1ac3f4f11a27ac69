"""Show a customer's card in the modal that asked for it."""

from workers.requests import CustomerCard
from workers.tasks.customers import score
from workers.tasks.interface import Context, Outcome


def run(request: CustomerCard, context: Context) -> Outcome:
    """Score the customer and fill the modal."""
    return score.run(request, context)
