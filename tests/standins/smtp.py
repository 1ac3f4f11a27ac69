"""A real SMTP server with configurable faults that keeps accepted e-mails."""

import asyncio
import ssl
from collections import Counter
from collections.abc import Callable
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult

from retention.outreach.smtp import Server, parse_smtp_url

Says = Callable[[str], str | None]


class Inbox:
    """Received e-mails of the test server.

    ``on_mail``, ``on_rcpt`` and ``on_data`` map an address to an SMTP reply, ``hang up``, ``hang``
    or None (accept). ``on_hang`` is called when the client waits for a missing answer.
    """

    def __init__(
        self,
        on_rcpt: Says = lambda to: None,
        on_data: Says = lambda to: None,
        pause: float = 0.0,
        on_mail: Says = lambda sender: None,
    ) -> None:
        self.on_mail, self.on_rcpt, self.on_data, self.pause = on_mail, on_rcpt, on_data, pause
        self.on_hang: Callable[[], None] = lambda: None
        self.mails: list[EmailMessage] = []
        self.addresses: Counter[str] = Counter()

    async def handle_MAIL(
        self, server: SMTP, session: Any, envelope: Any, address: str, options: Any
    ) -> str:
        if said := self.on_mail(address):
            return said
        envelope.mail_from = address
        return "250 OK"

    async def handle_RCPT(
        self, server: SMTP, session: Any, envelope: Any, address: str, options: Any
    ) -> str:
        if said := self.on_rcpt(address):
            return said
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Any, envelope: Any) -> str:
        (to,) = envelope.rcpt_tos
        said = self.on_data(to)
        if said is None or said in ("hang up", "hang"):  # it has it, whatever it says of it
            self.addresses[to] += 1
            self.mails.append(message_from_bytes(envelope.content, policy=policy.default))
        await asyncio.sleep(self.pause)
        if said == "hang up":
            server.transport.close()
        if said == "hang":
            self.on_hang()
            await asyncio.sleep(1)
        return said or "250 accepted"


class Mailserver(Controller):
    """`Inbox` on a free port of this machine, in a thread of its own."""

    def __init__(self, inbox: Inbox, **options: Any) -> None:
        super().__init__(inbox, hostname="127.0.0.1", port=0, **options)

    def _trigger_server(self) -> None:
        self.port = self.server.sockets[0].getsockname()[1]
        if self.ssl_context:  # it listens already; this is for the client that knocks once
            self.ssl_context = ssl._create_unverified_context()
        super()._trigger_server()

    @property
    def place(self) -> Server:
        return parse_smtp_url(
            f"smtp://127.0.0.1:{self.port}/?from=offers@shop.example&name=The%20Shop"
        )


def only(user: str, password: str) -> Any:
    """An authenticator that knows one person."""

    def check(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        known = (data.login, data.password) == (user.encode(), password.encode())
        return AuthResult(success=known, handled=False)  # the server says so to the client

    return check
