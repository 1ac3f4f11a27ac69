"""Which customer a person means."""

from bot.services import Services
from retention.lake import directory


def customer_id(services: Services, text: str) -> str:
    """The customer of an id, a pseudonym or an e-mail address.

    Raises
    ------
    BadInput
        Nobody is known by it; the sentence names the nearest.
    """
    with services.database.reading() as session:
        return directory.find(session, services.settings, text)
