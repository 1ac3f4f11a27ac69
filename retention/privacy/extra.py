"""Say whether the extra ``privacy`` is installed, without loading it."""

from importlib.util import find_spec

from retention.errors import BadInput
from retention.text import gettext


def is_installed() -> bool:
    """Return whether noise for differential privacy can be drawn here."""
    return find_spec("opendp") is not None


def require() -> None:
    """Refuse with a sentence that says how to install the extra."""
    if not is_installed():
        text = gettext(
            "Differential privacy needs a package that is not installed here; ask an operator to "
            "run: {command}"
        )
        raise BadInput(text.format(command="pip install 'retention-desk[privacy]'"))
