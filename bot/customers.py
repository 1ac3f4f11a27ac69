"""Which customer a person means."""

from bot.services import Services
from retention.lake import directory


def customer(services: Services, text: str) -> dict[str, str | None]:
    """The customer of an id, a pseudonym or an e-mail address, as a request names one.

    ``merged`` is the id that was meant, where it has been merged into another customer's.

    Raises
    ------
    BadInput
        Nobody is known by it; the sentence names the nearest.
    """
    with services.database.reading() as session:
        found = directory.find_match(session, services.settings, text)
    return {"customer_id": found.customer_id, "merged": found.merged}
