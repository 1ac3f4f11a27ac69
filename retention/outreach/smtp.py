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
from retention.outreach.adapter import (
    ADDRESS_REFUSED,
    DELIVERY_REFUSED,
    MESSAGE_REFUSED,
    BounceCode,
    Message,
    ServerUnavailable,
    Verdict,
    deadline,
)
from retention.templating import shorten
from retention.text import gettext

REPLY_TIMEOUT = 20.0  # seconds for a single reply
MESSAGE_TIMEOUT = 45.0  # seconds for a whole e-mail, however slowly replies arrive
PER_CONNECTION = 100  # e-mails before reconnecting; servers limit them
CLOSING_CODE = 421  # the server closes the connection, in reply to any command (RFC 5321)
# Replies that refuse the sender. No reply code distinguishes them, so the servers' texts do.
_SENDER_FAULT = re.compile(r"\brelay|authenticat|client host", re.IGNORECASE)
_ADDRESS_STATUS = re.compile(r"\b5\.[12]\.\d")
_ADDRESS_REPLY = re.compile(r"\b5\.[12]\.\d|^55[0-3]\b(?! 5\.\d)")
# Characters. Python drops the quotes of a longer name, and each comma starts a new recipient.
_MAX_NAME = 64
# Without characters that need quotes, such as separators and brackets.
_ADDRESS = re.compile(r"([^\s\"(),:;<>@\[\\\]]+)@([^\s\"(),:;<>@\[\\\]]+)")


class _UnfoldedHeader(UnstructuredHeader, BaseHeader):
    """A header that is never folded.

    Python would encode a link longer than a line, and mail readers would not recognise it.
    """

    max_count = 1

    def fold(self, *, policy: Policy) -> str:
        return f"{self.name}: {self}{policy.linesep}"


_HEADERS = HeaderRegistry()
_HEADERS.map_to_type("list-unsubscribe", _UnfoldedHeader)
_POLICY = SMTP.clone(header_factory=_HEADERS)


@dataclass(frozen=True, slots=True)
class Server:
    """Mail server and sender address, from ``RETENTION_SMTP_URL``."""

    host: str
    port: int
    tls: bool  # from the first byte; otherwise STARTTLS, which a password requires
    sender: Address
    user: str = ""
    password: str = field(default="", repr=False)


def parse_smtp_url(url: str) -> Server:
    """Parse ``smtp[s]://user:password@host:port/?from=offers@shop.example&name=The+shop``.

    Raises `BadInput`: a part is missing or wrong. The message never repeats the URL, because it
    holds a password.
    """
    form = gettext("write it like smtp://user:password@mail.example:587/?from=offers@shop.example")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        message = gettext("RETENTION_SMTP_URL cannot be read ({error}); {form}.")
        raise BadInput(message.format(error=error, form=form)) from None
    if parts.scheme not in ("smtp", "smtps") or not parts.hostname:
        text = gettext("RETENTION_SMTP_URL is no address of a mail server; {form}.")
        raise BadInput(text.format(form=form))
    options = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    try:
        sender = Address(display_name=options.get("name", ""), addr_spec=options["from"])
        if not sender.username or not sender.domain:
            raise ValueError
    except KeyError:
        text = gettext("RETENTION_SMTP_URL does not say whom e-mails are from; {form}.")
        raise BadInput(text.format(form=form)) from None
    except (ValueError, IndexError):
        sentence = gettext(
            "RETENTION_SMTP_URL has from={sender!r}, which is no e-mail address; {form}."
        )
        raise BadInput(sentence.format(sender=options["from"], form=form)) from None
    tls = parts.scheme == "smtps"
    return Server(
        parts.hostname,
        port or (465 if tls else 587),
        tls,
        sender,
        unquote(parts.username or ""),
        unquote(parts.password or ""),
    )


def build_email(message: Message, sender: Address) -> EmailMessage:
    """Build the e-mail with its unsubscribe headers.

    The Message-ID follows from the key, so duplicates of one send can be recognised.
    """
    address = _ADDRESS.fullmatch(message.to.email.strip())
    if address is None or "=?" in address[0] or not address[0].isprintable():
        raise ValueError(gettext("it is no e-mail address"))
    email = EmailMessage(policy=_POLICY)
    name = _header_text(message.sender_name) or sender.display_name
    email["From"] = Address(name, addr_spec=sender.addr_spec)
    if message.reply_to:
        email["Reply-To"] = Address(addr_spec=message.reply_to)
    email["To"] = Address(shorten(_header_text(message.to.name), _MAX_NAME), address[1], address[2])
    email["Subject"] = _header_text(message.subject)
    email["Date"] = format_datetime(clock.wall())
    email["Message-ID"] = f"<{sha256(message.key.encode()).hexdigest()[:32]}@{sender.domain}>"
    email["List-Unsubscribe"] = f"<{message.unsubscribe_url}>"
    email["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    email["X-Entity-Ref-ID"] = message.key
    email.set_content(message.text, cte="quoted-printable")
    email.add_alternative(message.html, subtype="html", cte="quoted-printable")
    return email


class SmtpAdapter:
    """One mail server, one connection at a time."""

    channel = "email"
    drops_duplicates = False  # no mail server promises to drop a second copy

    def __init__(
        self, server: Server, *, timeout: float = REPLY_TIMEOUT, patience: float = MESSAGE_TIMEOUT
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
                    sentence = gettext(
                        "The mail server {host} offers no encryption, so our password is not "
                        "sent to it; use smtps://."
                    )
                    raise ServerUnavailable(sentence.format(host=server.host))
                if server.user:
                    smtp.login(server.user, server.password)
        except smtplib.SMTPAuthenticationError as error:
            self.close()
            message = gettext("The mail server {host} refuses our user or password ({code}).")
            raise ServerUnavailable(
                message.format(host=server.host, code=error.smtp_code)
            ) from None
        except (OSError, smtplib.SMTPException) as error:
            self.close()
            text = gettext("The mail server {host} cannot be used: {error}.")
            raise ServerUnavailable(
                text.format(host=server.host, error=_error_text(error))
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
        # TLS checks this name, and only the constructor would set it.
        smtp._host = self._server.host  # type: ignore[attr-defined]
        return smtp

    def send(self, message: Message) -> Verdict:
        """Try to send one e-mail.

        Delivery is uncertain only if the connection is lost after the whole message was handed
        over.
        """
        to = message.to.email.strip()
        try:
            email = build_email(message, self._server.sender)
            content = email.as_bytes(policy=SMTP if to.isascii() else SMTPUTF8)
        except ValueError as error:
            detail = gettext("the customer cannot be written to: {error}").format(error=error)
            return Verdict("failed", detail)
        message_id = str(email["Message-ID"])
        for is_last in (False, True):
            self.open()
            assert self._smtp is not None
            self._used += 1
            try:
                with deadline(self._patience, self._cut):
                    return self._hand_over(self._smtp, content, to, message_id, is_last)
            except _NotAccepted as error:  # e.g. an idle connection was closed
                self.close()
                if is_last:
                    detail = gettext("the connection was lost ({error})").format(error=error)
                    return Verdict("again", detail, has_hung_up=True)
        raise AssertionError("unreachable")

    def _hand_over(
        self, smtp: smtplib.SMTP, content: bytes, to: str, message_id: str, is_last: bool
    ) -> Verdict:
        is_international = not to.isascii()
        if is_international and not smtp.has_extn("smtputf8"):
            return Verdict(
                "bounced",
                gettext("the mail server takes no international addresses"),
                code=ADDRESS_REFUSED,
            )
        try:
            code, reply = smtp.mail(
                self._server.sender.addr_spec,
                ["SMTPUTF8", "BODY=8BITMIME"] if is_international else [],
            )
            if not is_last:  # many servers limit a connection and accept the e-mail on the next
                _raise_if_closing(code, reply)
            if code != 250:  # the server knows no recipient yet, so this holds for all e-mails
                self._reset(smtp)
                raise ServerUnavailable(self._sender_refusal(code, reply))
            code, reply = smtp.rcpt(to)
            _raise_if_closing(code, reply)
        except (OSError, smtplib.SMTPException) as error:
            raise _NotAccepted(_error_text(error)) from None
        if code not in (250, 251):
            self._reset(smtp)
            if _is_sender_fault(code, reply):
                raise ServerUnavailable(
                    gettext(
                        "The mail server {host} carries none of our e-mails: {code} {reply}."
                    ).format(host=self._server.host, code=code, reply=_reply_text(reply))
                )
            return _refusal(code, reply)
        try:
            code, reply = smtp.data(content)
        except smtplib.SMTPDataError as error:
            return self._refused_content(smtp, error.smtp_code, error.smtp_error)
        except (OSError, smtplib.SMTPException) as error:
            self.close()
            detail = gettext(
                "the connection was lost before the mail server said that it has it ({error})"
            ).format(error=_error_text(error))
            return Verdict("doubtful", detail)
        if code == 250:
            return Verdict("sent", message_id=message_id)
        return self._refused_content(smtp, code, reply)

    def _sender_refusal(self, code: int, reply: bytes | str) -> str:
        if code >= 500:
            sentence = gettext("The mail server refuses the sender {sender}: {code} {reply}.")
        else:
            sentence = gettext(
                "The mail server takes nothing at present from the sender {sender}: {code} {reply}."
            )
        return sentence.format(
            sender=self._server.sender.addr_spec, code=code, reply=_reply_text(reply)
        )

    def _refused_content(self, smtp: smtplib.SMTP, code: int, reply: bytes | str) -> Verdict:
        """Verdict on an e-mail refused after its content."""
        _raise_if_closing(code, reply)
        self._reset(smtp)
        return _refusal(code, reply, data=True)

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
            except OSError:  # already closed
                return

    def close(self) -> None:
        """Disconnect."""
        smtp, self._smtp, self._used = self._smtp, None, 0
        if smtp is not None:
            try:
                if smtp.sock is not None:
                    smtp.sock.settimeout(1)  # do not wait long for the reply
                smtp.quit()
            except (OSError, smtplib.SMTPException):
                smtp.close()


class _NotAccepted(Exception):
    """The connection ended before any content was handed over."""


def _raise_if_closing(code: int, reply: bytes | str) -> None:
    if code == CLOSING_CODE:
        raise _NotAccepted(f"{code} {_reply_text(reply)}")


def _is_sender_fault(code: int, reply: bytes | str) -> bool:
    """Whether a recipient is refused because of us.

    The server does not relay for us, or not from our network. Treating this as a bounce would make
    the whole campaign bounce after a wrong password. A status about the address (RFC 3463, 5.1 and
    5.2) is always about the recipient.
    """
    text = _reply_text(reply)
    return code == 530 or (
        code >= 500 and bool(_SENDER_FAULT.search(text)) and not _ADDRESS_STATUS.search(text)
    )


def _refusal(code: int, reply: bytes | str, *, data: bool = False) -> Verdict:
    """Verdict on a refusal.

    ``data``: the server had seen the content. Then it refuses the content, unless its status names
    the address.
    """
    text = _reply_text(reply)
    full_reply = f"{code} {text}"
    if code < 500:
        return Verdict("again", full_reply)
    is_about_content = data and not _ADDRESS_STATUS.search(text)
    bounce = MESSAGE_REFUSED if is_about_content else bounce_code(full_reply)
    return Verdict("bounced", full_reply, code=bounce)


def bounce_code(reply: str) -> BounceCode:
    """Return the code of a refused recipient.

    The enhanced status (RFC 3463) names the address or mailbox. Without one, the reply code does
    (RFC 5321).
    """
    return ADDRESS_REFUSED if _ADDRESS_REPLY.search(reply) else DELIVERY_REFUSED


def _reply_text(reply: bytes | str) -> str:
    """The server's reply without the address that it repeats.

    Replies are stored, and addresses must not be.
    """
    text = reply.decode("utf-8", "replace") if isinstance(reply, bytes) else reply
    return re.sub(r"[^\s<>]+@[^\s<>]+", "…", " ".join(text.split()))[:200]


def _header_text(text: str) -> str:
    """Text on one line, for a header.

    Line breaks would allow header injection. Encoded words (RFC 2047) are escaped, because Python
    decodes them, including line breaks.
    """
    plain = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return plain.replace("=?", "= ?")


def _error_text(error: Exception) -> str:
    return _reply_text(str(error)) or type(error).__name__
