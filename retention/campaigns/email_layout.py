"""Lay out an e-mail: MJML compiled to HTML, and plain text."""

from retention import templating
from retention.campaigns.email_content import EmailContent
from retention.text import DEFAULT, PSEUDO, bracket_html, use_language

MAX_BYTES = 100_000  # Gmail cuts what is larger


def render_html(content: EmailContent) -> str:
    """Return the e-mail as HTML.

    Mail programs drop most of CSS, so MJML's tables and inline styles are used. No font and no
    style sheet is loaded from elsewhere.
    """
    import mrml

    # The pseudo-locale would put brackets into the styles.
    with use_language(DEFAULT):
        source = templating.html("campaigns/email.mjml.j2", c=content)
    html = str(mrml.to_html(source).content)
    return bracket_html(html) if content.language == PSEUDO else html


def render_text(content: EmailContent) -> str:
    """Return the same content as plain text."""
    with use_language(content.language):
        return templating.text("campaigns/email.txt.j2", c=content)
