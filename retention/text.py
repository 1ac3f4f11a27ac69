"""Translate the sentences that people read.

Sentences in code are marked with `gettext`; sentences in messages, pages and e-mails are in ``templates/``. The source
language is English. Catalogues are ``retention/locale/LANGUAGE/LC_MESSAGES/retention.mo``, made by Babel.

This module is in the lowest layer and reads the environment itself, because `retention.settings` has sentences, too.
"""

import gettext as _gettext
import os
from functools import cache
from pathlib import Path

LANGUAGE = "RETENTION_LANGUAGE"
PSEUDO = "en-XA"  # the usual code of the pseudo-locale: shows each sentence as ⟦sentence⟧
FOLDER = Path(__file__).parent / "locale"


def gettext(message: str) -> str:
    """Return a sentence in the installation's language.

    Parameters
    ----------
    message : str
        The English sentence: a literal, so that Babel finds it. Values go into ``{named}`` fields, which the caller
        fills in with `str.format` afterwards.

    Examples
    --------
    >>> gettext("There is no job {job!r}.").format(job="j7")
    "There is no job 'j7'."
    """
    if is_pseudo():
        return f"⟦{message}⟧"
    return _catalogue().gettext(message)


def is_pseudo() -> bool:
    """Whether the pseudo-locale is on."""
    return os.environ.get(LANGUAGE) == PSEUDO


@cache
def _catalogue() -> _gettext.NullTranslations:
    language = os.environ.get(LANGUAGE, "en").replace("-", "_")
    return _gettext.translation("retention", FOLDER, languages=[language], fallback=True)
