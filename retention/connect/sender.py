"""Read the address that a mail platform sends from."""

from email.utils import parseaddr

from retention.connect.contract import Setting
from retention.errors import BadInput
from retention.text import gettext

SENDER = Setting("sender", example="Tea Shop <hello@shop.example>")


def parse_sender(text: str) -> tuple[str, str]:
    """Return the name and the address of a sender.

    Raises
    ------
    BadInput
        It has no address.

    Examples
    --------
    >>> parse_sender("Tea Shop <hello@shop.example>")
    ('Tea Shop', 'hello@shop.example')
    """
    name, address = parseaddr(text)
    if "@" not in address:
        raise BadInput(
            gettext("sender is {text!r}; write it like {example}.").format(
                text=text, example=SENDER.example
            ),
            field="sender",
        )
    return name, address
