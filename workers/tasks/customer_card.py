"""Show a customer's card in the modal that asked for it."""

from workers.requests import CustomerCard
from workers.tasks import score
from workers.tasks.interface import Context, Outcome


def run(request: CustomerCard, context: Context) -> Outcome:
    """Score the customer and fill the modal.

    Parameters
    ----------
    request : CustomerCard
        The validated request.
    context : Context
        The running attempt.

    Returns
    -------
    Outcome
        The card as a modal.
    """
    return score.run(request, context)
