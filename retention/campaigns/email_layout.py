"""Lay out an e-mail: MJML compiled to HTML, and plain text."""

import re

from retention import templating
from retention.campaigns.email_content import EmailContent
from retention.text import DEFAULT, PSEUDO, bracket_html, use_language

_NOT_IN_XML = re.compile("[\ufffe\uffff\ud800-\udfff]")  # MJML with such a character is refused


def render_html(content: EmailContent) -> str:
    """Return the e-mail as HTML.

    Mail programs drop most of CSS, so MJML's tables and inline styles are used. No font and no
    style sheet is loaded from elsewhere.
    """
    import mrml

    # The pseudo-locale would put brackets into the styles.
    with use_language(DEFAULT):
        source = templating.html("campaigns/email.mjml.j2", c=content)
    html = str(mrml.to_html(_NOT_IN_XML.sub("", source)).content)
    return bracket_html(html) if content.language == PSEUDO else html


def render_text(content: EmailContent) -> str:
    """Return the same content as plain text."""
    with use_language(content.language):
        return templating.text("campaigns/email.txt.j2", c=content)
