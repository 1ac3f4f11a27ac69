"""Send e-mails over SMTP with one-click unsubscribe (RFC 8058)."""

import re
import smtplib
import socket
import ssl
from dataclasses import dataclass, field
from email.headerregistry import Address, BaseHeader, HeaderRegistry, UnstructuredHeader
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8, Policy
from email.utils import format_datetime
from hashlib import sha256
from urllib.parse import parse_qs, unquote, urlsplit

from retention import clock
from retention.errors import BadInput
from retention.outreach.messages import Message, Unreachable, Verdict, deadline
from retention.templating import shorten
from retention.text import gettext

TIMEOUT = 20.0  # seconds a single answer may take
PATIENCE = 45.0  # seconds a whole copy may take, however slowly the answers drip in
PER_CONNECTION = 100  # copies after which we knock anew: servers count them
CLOSING = 421  # said of the connection, whatever command it answers (RFC 5321)
# How servers say that it is us whom they refuse, not the recipient.
_FOR_US = re.compile(r"\brelay|authenticat|client host", re.IGNORECASE)
_FOR_THEM = re.compile(r"\b5\.[12]\.\d")
_LONGEST_NAME = 64  # characters: of one over a line's end Python drops the quotes, and each comma in it began another recipient
# Without signs that would have to be quoted: of a list, say, or of what ends an address.
_ADDRESS = re.compile(r"([^\s\"(),:;<>@\[\\\]]+)@([^\s\"(),:;<>@\[\\\]]+)")


class _Whole(UnstructuredHeader, BaseHeader):
    """A header that is never folded.

    Python would encode a link longer than a line, and mail readers would not recognise it.
    """

    max_count = 1

    def fold(self, *, policy: Policy) -> str:
        return f"{self.name}: {self}{policy.linesep}"


_HEADERS = HeaderRegistry()
_HEADERS.map_to_type("list-unsubscribe", _Whole)
_POLICY = SMTP.clone(header_factory=_HEADERS)


@dataclass(frozen=True, slots=True)
class Server:
    """Mail server and sender address, from ``RETENTION_SMTP_URL``."""

    host: str
    port: int
    tls: bool  # from the first byte; else STARTTLS, which is required wherever there is a password
    sender: Address
    user: str = ""
    password: str = field(default="", repr=False)


def parse(url: str) -> Server:
    """Parse ``smtp[s]://user:password@host:port/?from=offers@shop.example&name=The+shop``.

    Returns
    -------
    Server

    Raises
    ------
    BadInput
        A part is missing or wrong. The message never repeats the URL, because it holds a password.
    """
    form = "write it like smtp://user:password@mail.example:587/?from=offers@shop.example"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise BadInput(
            gettext("RETENTION_SMTP_URL cannot be read ({error}); {form}.").format(
                error=error, form=form
            )
        ) from None
    if parts.scheme not in ("smtp", "smtps") or not parts.hostname:
        raise BadInput(
            gettext("RETENTION_SMTP_URL is no address of a mail server; {form}.").format(form=form)
        )
    options = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    try:
        sender = Address(display_name=options.get("name", ""), addr_spec=options["from"])
        if not sender.username or not sender.domain:
            raise ValueError
    except KeyError:
        raise BadInput(
            gettext("RETENTION_SMTP_URL does not say whom e-mails are from; {form}.").format(
                form=form
            )
        ) from None
    except (ValueError, IndexError):
        raise BadInput(
            gettext(
                "RETENTION_SMTP_URL has from={sender!r}, which is no e-mail address; {form}."
            ).format(sender=options["from"], form=form)
        ) from None
    tls = parts.scheme == "smtps"
    return Server(
        parts.hostname,
        port or (465 if tls else 587),
        tls,
        sender,
        unquote(parts.username or ""),
        unquote(parts.password or ""),
    )


def email(message: Message, sender: Address) -> EmailMessage:
    """Build the e-mail with its unsubscribe headers.

    The Message-ID follows from the key, so duplicates of one send can be recognised.

    Parameters
    ----------
    message : Message
        The e-mail to send.
    sender : Address
        Address of the shop.

    Returns
    -------
    EmailMessage

    Raises
    ------
    ValueError
        The customer's address is not valid.
    """
    address = _ADDRESS.fullmatch(message.to.email.strip())
    if address is None or "=?" in address[0] or not address[0].isprintable():
        raise ValueError("it is no e-mail address")
    made = EmailMessage(policy=_POLICY)
    made["From"] = sender
    made["To"] = Address(shorten(_line(message.to.name), _LONGEST_NAME), address[1], address[2])
    made["Subject"] = _line(message.subject)
    made["Date"] = format_datetime(clock.wall())
    made["Message-ID"] = f"<{sha256(message.key.encode()).hexdigest()[:32]}@{sender.domain}>"
    made["List-Unsubscribe"] = f"<{message.unsubscribe_url}>"
    made["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    made["X-Entity-Ref-ID"] = message.key
    made.set_content(message.text, cte="quoted-printable")
    made.add_alternative(message.html, subtype="html", cte="quoted-printable")
    return made


class Smtp:
    """One mail server, one connection at a time."""

    channel = "email"
    repeats = False  # no mail server promises to drop a second copy

    def __init__(
        self, server: Server, *, timeout: float = TIMEOUT, patience: float = PATIENCE
    ) -> None:
        self._server, self._timeout, self._patience = server, timeout, patience
        self._smtp: smtplib.SMTP | None = None
        self._used = 0

    def open(self) -> None:
        """Connect and log in if needed."""
        if self._smtp is not None and self._used < PER_CONNECTION:
            return
        self.close()
        server = self._server
        try:
            with deadline(self._patience, self._cut):
                self._smtp = smtp = self._unconnected()
                smtp.connect(server.host, server.port)
                smtp.ehlo_or_helo_if_needed()
                if not server.tls and smtp.has_extn("starttls"):
                    smtp.starttls(context=ssl.create_default_context())
                    smtp.ehlo()
                elif not server.tls and server.password:
                    raise Unreachable(
                        f"The mail server {server.host} offers no encryption, so our password is not sent to it; use smtps://."
                    )
                if server.user:
                    smtp.login(server.user, server.password)
        except smtplib.SMTPAuthenticationError as error:
            self.close()
            raise Unreachable(
                f"The mail server {server.host} refuses our user or password ({error.smtp_code})."
            ) from None
        except (OSError, smtplib.SMTPException) as error:
            self.close()
            raise Unreachable(
                f"The mail server {server.host} cannot be used: {_brief(error)}."
            ) from None

    def _unconnected(self) -> smtplib.SMTP:
        """A client before connecting.

        Its constructor would connect, and an endless greeting could not be cut.
        """
        if self._server.tls:
            smtp: smtplib.SMTP = smtplib.SMTP_SSL(
                timeout=self._timeout, context=ssl.create_default_context()
            )
        else:
            smtp = smtplib.SMTP(timeout=self._timeout)
        smtp._host = self._server.host  # type: ignore[attr-defined] # the name that TLS checks; only the constructor sets it
        return smtp

    def send(self, message: Message) -> Verdict:
        """Try to send one e-mail.

        Delivery is uncertain only if the connection is lost after the whole message was handed
        over.
        """
        to = message.to.email.strip()
        try:
            made = email(message, self._server.sender)
            content = made.as_bytes(policy=SMTP if to.isascii() else SMTPUTF8)
        except ValueError as error:
            return Verdict("failed", f"the customer cannot be written to: {error}")
        for last in (False, True):
            self.open()
            assert self._smtp is not None
            self._used += 1
            try:
                with deadline(self._patience, self._cut):
                    return self._hand_over(self._smtp, content, to, str(made["Message-ID"]), last)
            except (
                _NotTaken
            ) as lost:  # e.g. it hung up on an idle connection: nothing was handed over
                self.close()
                if last:
                    return Verdict("again", f"the connection was lost ({lost})", hung_up=True)
        raise AssertionError("unreachable")

    def _hand_over(
        self, smtp: smtplib.SMTP, content: bytes, to: str, message_id: str, last: bool
    ) -> Verdict:
        international = not to.isascii()
        if international and not smtp.has_extn("smtputf8"):
            return Verdict("bounced", "the mail server takes no international addresses")
        try:
            code, said = smtp.mail(
                self._server.sender.addr_spec,
                ["SMTPUTF8", "BODY=8BITMIME"] if international else [],
            )
            if not last:  # many have had enough of one connection and take the copy over the next
                _refuse_closing(code, said)
            if (
                code != 250
            ):  # it knows nothing of the copy yet: this is about us, and holds for all of them
                self._reset(smtp)
                does = "refuses" if code >= 500 else "takes nothing at present from"
                raise Unreachable(
                    f"The mail server {does} the sender {self._server.sender.addr_spec}: {code} {_text(said)}."
                )
            code, said = smtp.rcpt(to)
            _refuse_closing(code, said)
        except (OSError, smtplib.SMTPException) as error:
            raise _NotTaken(_brief(error)) from None
        if code not in (250, 251):
            self._reset(smtp)
            if _about_us(code, said):
                raise Unreachable(
                    f"The mail server {self._server.host} carries none of our e-mails: {code} {_text(said)}."
                )
            return _refused(code, said)
        try:
            code, said = smtp.data(content)
        except smtplib.SMTPDataError as error:
            return self._untaken(smtp, error.smtp_code, error.smtp_error)
        except (OSError, smtplib.SMTPException) as error:
            self.close()
            return Verdict(
                "doubtful",
                f"the connection was lost before the mail server said that it has it ({_brief(error)})",
            )
        if code == 250:
            return Verdict("sent", message_id=message_id)
        return self._untaken(smtp, code, said)

    def _untaken(self, smtp: smtplib.SMTP, code: int, said: bytes | str) -> Verdict:
        """Verdict on an e-mail refused after its content."""
        _refuse_closing(code, said)
        self._reset(smtp)
        return _refused(code, said, data=True)

    def _reset(self, smtp: smtplib.SMTP) -> None:
        """Prepare for the next e-mail; reconnect if the server hung up."""
        try:
            smtp.rset()
        except (OSError, smtplib.SMTPException):
            self.close()

    def _cut(self) -> None:
        if self._smtp is not None and self._smtp.sock is not None:
            try:
                self._smtp.sock.shutdown(socket.SHUT_RDWR)
            except OSError:  # it is gone already
                return

    def close(self) -> None:
        """Disconnect."""
        smtp, self._smtp, self._used = self._smtp, None, 0
        if smtp is not None:
            try:
                if smtp.sock is not None:
                    smtp.sock.settimeout(1)  # nobody waits for a farewell
                smtp.quit()
            except (OSError, smtplib.SMTPException):
                smtp.close()


class _NotTaken(Exception):
    """The connection ended before any content was handed over."""


def _refuse_closing(code: int, said: bytes | str) -> None:
    if code == CLOSING:
        raise _NotTaken(f"{code} {_text(said)}")


def _about_us(code: int, said: bytes | str) -> bool:
    """Whether a recipient is refused because of us.

    The server does not relay for us, or not from our network. Treating this as a bounce would make
    the whole campaign bounce after a wrong password. A status about the address (RFC 3463, 5.1 and
    5.2) is always about the recipient.
    """
    text = _text(said)
    return code == 530 or (
        code >= 500 and bool(_FOR_US.search(text)) and not _FOR_THEM.search(text)
    )


def _refused(code: int, said: bytes | str, *, data: bool = False) -> Verdict:
    """Verdict on a refusal.

    ``data``: the server had seen the content. Then it refuses the content, unless its status names
    the address.
    """
    text = _text(said)
    of_message = data and code >= 500 and not _FOR_THEM.search(text)
    return Verdict("bounced" if code >= 500 else "again", f"{code} {text}", of_message=of_message)


def _text(said: bytes | str) -> str:
    """The server's reply without the address that it repeats.

    Replies are stored, and addresses must not be.
    """
    text = said.decode("utf-8", "replace") if isinstance(said, bytes) else said
    return re.sub(r"[^\s<>]+@[^\s<>]+", "…", " ".join(text.split()))[:200]


def _line(text: str) -> str:
    """Text on one line, for a header.

    Line breaks would allow header injection. Encoded words (RFC 2047) are escaped, because Python
    decodes them, including line breaks.
    """
    plain = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return plain.replace("=?", "= ?")


def _brief(error: Exception) -> str:
    return _text(str(error)) or type(error).__name__
