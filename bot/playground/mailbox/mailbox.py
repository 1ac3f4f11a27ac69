"""Receive the demo's e-mails over SMTP and keep them."""

import asyncio
import logging
import zlib
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any, cast

from bot.playground.workspace import Store
from retention import clock

KIND = "email"  # of the store's documents
MAX_EMAILS = 10_000  # the oldest ones are deleted
_TEXT = policy.SMTP  # decodes headers and bodies, whatever they hold


class Mailbox:
    """The e-mails of all customers of the demo, newest first."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._emails: dict[int, dict[str, Any]] = {int(key): body for key, body in store.all(KIND)}

    def add(self, raw: bytes) -> None:
        """Keep an e-mail, with the business time at which it arrived."""
        email = _parsed(raw)
        number = max(self._emails, default=0) + 1
        about = {
            "to": str(email["to"] or ""),
            "subject": str(email["subject"] or ""),
            "at": clock.now().isoformat(),
        }
        self._store.put(KIND, f"{number:08d}", about, zlib.compress(raw))
        self._emails[number] = about
        if len(self._emails) > MAX_EMAILS:
            oldest = min(self._emails)
            self._store.drop(KIND, f"{oldest:08d}")
            del self._emails[oldest]

    def search(self, words: str, limit: int) -> tuple[int, list[dict[str, Any]]]:
        """Return how many e-mails have all words in address or subject, and the newest of them."""
        wanted = words.casefold().split()
        matching = [
            {"id": number, **about}
            for number, about in reversed(self._emails.items())
            if all(word in f"{about['to']} {about['subject']}".casefold() for word in wanted)
        ]
        return len(matching), matching[:limit]

    def read(self, number: int) -> EmailMessage | None:
        """Return an e-mail, if there is one of this number."""
        content = self._store.content(KIND, f"{number:08d}")
        return _parsed(zlib.decompress(content)) if content else None

    # aiosmtpd's hook
    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        self.add(envelope.content)
        return "250 OK"

    async def serve(self, port: int) -> asyncio.Server:
        """Listen for e-mails on 127.0.0.1, in the running loop."""
        from aiosmtpd.smtp import SMTP

        logging.getLogger("mail.log").setLevel(logging.WARNING)  # else a line for each command
        loop = asyncio.get_running_loop()
        return await loop.create_server(
            lambda: SMTP(self, enable_SMTPUTF8=True, ident="Mailbox of the demo", loop=loop),
            "127.0.0.1",
            port,
        )


def _parsed(raw: bytes) -> EmailMessage:
    return cast(EmailMessage, message_from_bytes(raw, policy=_TEXT))


def body_of(email: EmailMessage, kind: str) -> str:
    """Return the HTML or the plain text of an e-mail; empty if it has none."""
    part = email.get_body((kind,))
    return str(part.get_content()) if part is not None else ""


def smtp_url(port: int) -> str:
    """Return the setting that makes the desk send to the mailbox."""
    return f"smtp://127.0.0.1:{port}/?from=offers@journey-grocers.example&name=Journey+Grocers"
