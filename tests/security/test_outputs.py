"""Test that no hostile string breaks out of a message, an e-mail, a table, a line or an answer."""

import csv
import io
import json
import logging
import re
from dataclasses import replace
from email import message_from_bytes, policy
from email.headerregistry import Address
from html.parser import HTMLParser
from itertools import count, cycle
from typing import Any

import pandas as pd
import pytest
from markupsafe import Markup

from bot.http import rate_limit
from retention import templating
from retention.campaigns.message.customer_message import compose_message
from retention.campaigns.message.parts import Block, MessageParts
from retention.csv_text import DANGEROUS, to_csv
from retention.db.tables import Send
from retention.logs import LineFormatter
from retention.outreach.adapter import Contact
from retention.outreach.smtp import build_email
from tests.bot.conftest import _short_transactions, api, settings, workspace  # noqa: F401
from tests.bot.message_samples import samples
from tests.bot.wire import ADMIN
from tests.retention.campaigns.email_samples import Kind, sample_email, sample_row, write_brand
from tests.retention.campaigns.samples import a_body
from tests.security import walk
from tests.security.corpus import ALL, CONTROL, texts
from workers import action_ids
from workers.delivery import render
from workers.delivery.block_limits import InvalidBlocks

SHORT = [text for text in ALL if 0 < len(text) <= 300]
SHOP = "https://shop.example"
# What our own templates make: a person, a channel, a group, a date, a link.
OWN = re.compile(
    r"<(?:[@#][A-Z0-9]+|!subteam\^S[A-Z0-9]+|!date\^\d+\^[^<>]*|https?://[^\s<>|]+\|[^<>]*)>"
)
NUMBER = count(1)


def assert_contained(shown: Any) -> None:
    """Check the texts of Slack's blocks."""
    for text in texts(shown):
        assert "<" not in OWN.sub("", text), text
        assert not re.search(r"<[^>]*evil\.example", text), text


def mrkdwn(shown: Any) -> list[str]:
    """Return what Slack reads as mrkdwn."""
    if isinstance(shown, dict):
        own = [shown["text"]] if shown.get("type") == "mrkdwn" else []
        return own + [text for value in shown.values() for text in mrkdwn(value)]
    return [text for each in shown for text in mrkdwn(each)] if isinstance(shown, list) else []


def plain(shown: Any) -> list[str]:
    """Return what a person reads besides mrkdwn."""
    if isinstance(shown, dict):
        is_shown = shown.get("type") in ("plain_text", "raw_text")
        own = [shown["text"]] if is_shown else []
        own += [shown["alt_text"]] if isinstance(shown.get("alt_text"), str) else []
        return own + [text for value in shown.values() for text in plain(value)]
    return [text for each in shown for text in plain(each)] if isinstance(shown, list) else []


def ids(shown: Any) -> set[str]:
    if isinstance(shown, dict):
        named = {shown[key] for key in ("action_id", "callback_id") if key in shown}
        return named.union(*(ids(value) for value in shown.values()))
    return set().union(*map(ids, shown)) if isinstance(shown, list) else set()


OFFSETS = [0, *(pytest.param(n, marks=pytest.mark.nightly) for n in range(50, len(SHORT), 50))]


@pytest.mark.parametrize("offset", OFFSETS)
def test_no_value_of_a_slack_message_breaks_out(monkeypatch, offset):
    """Every value that a template shows gets a hostile string of its own behind it."""
    own = tuple(value for value in vars(action_ids).values() if isinstance(value, str))
    own += ("primary", "danger")  # styles of a button
    refused = []
    strings = cycle(SHORT[offset:] + SHORT[:offset])
    usual = render._Marks.finalize

    def hostile(marks: Any, value: Any) -> Any:
        is_text = isinstance(value, str) and not isinstance(value, Markup)
        is_own = is_text and value.startswith(own)
        return usual(marks, f"{value}{next(strings)}" if is_text and not is_own else value)

    for template, context in samples().items():
        context = {"zone": "UTC", **context}
        try:
            clean = render.message(template, **context)
        except KeyError:
            continue
        monkeypatch.setattr(render._Marks, "finalize", hostile)
        try:
            shown = render.message(template, **context)
        except InvalidBlocks:  # a value that is no text, such as a date
            refused.append(template)
            continue
        finally:
            monkeypatch.setattr(render._Marks, "finalize", usual)
        assert_contained([shown.text, *mrkdwn(shown.blocks)])
        for text in (shown.text, *mrkdwn(shown.blocks), *plain(shown.blocks)):
            assert not CONTROL.search(text), (template, text)
        assert {block["type"] for block in shown.blocks} <= {
            block["type"] for block in clean.blocks
        }
        assert ids(shown.blocks) <= ids(clean.blocks), template
    assert len(refused) < 5, refused


def test_link_and_mention_of_a_value_stay_in_their_place():
    for text in ALL:
        for control in (render._link(SHOP, text), render._link(text, text)):
            inner = OWN.sub("", control.mrkdwn)
            assert "<" not in inner.replace("&lt;", ""), text
        for made in (render._user(text), render._channel(text)):
            assert isinstance(made, str) or OWN.fullmatch(made.mrkdwn), text


class Elements(HTMLParser):
    """The elements and attributes of a page, and its addresses."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: set[tuple[str, str]] = set()
        self.links: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found |= {(tag, ""), *((tag, name) for name, _ in attrs)}
        self.links |= {value or "" for name, value in attrs if name in ("href", "src", "action")}


def composed(settings, strings):  # noqa: F811
    """Return an e-mail whose every text has a hostile string."""
    words = cycle(strings)
    row, products = sample_row(Kind(), SHOP)
    row["offer"]["items"] = [each | {"title": next(words)} for each in row["offer"]["items"]]
    row["offer"]["what"] = next(words)
    kinds = ("text", "code", "products", "picture", "button")
    address = {"picture": f"{SHOP}/x.png"}
    blocks = tuple(
        Block(kind=kind, label=next(words)[:120], address=address.get(kind, "")) for kind in kinds
    )
    parts = {name: next(words) for name in ("subject", "preheader", "greeting", "sender_name")}
    parts["text"] = "\n\n".join([*strings, "{name} {discount} {items}"])
    body = a_body(message=MessageParts(**parts, blocks=blocks))
    contact = Contact("ann@example.com", next(words), locale="en-GB")
    send = Send(id=5, campaign_id="c1", customer_id="k")
    return compose_message(settings, body, send, contact, row, f"{SHOP}/unsubscribe/x", products)


def test_email_has_no_element_attribute_or_link_of_a_string(settings):  # noqa: F811
    clean = Elements(
        sample_email(
            settings, Kind(blocks="picture:i9|x, text, code, products:3, button"), SHOP
        ).html
    )
    write_brand(settings, SHOP)
    for start in range(0, len(SHORT), 40):
        page = Elements(composed(settings, SHORT[start : start + 40]).html)
        assert page.found <= clean.found | {("br", "")}, page.found - clean.found
        assert all(link.startswith((SHOP, "#")) for link in page.links), page.links


def test_plain_text_of_an_email_has_no_control_and_ends_with_our_link(settings):  # noqa: F811
    for start in range(0, len(SHORT), 40):
        text = composed(settings, SHORT[start : start + 40]).text
        assert not CONTROL.search(text.replace("\r", ""))
        assert f"{SHOP}/unsubscribe/x" in text.splitlines()[-1], text[-300:]


@pytest.mark.parametrize("strings", [ALL[::20], pytest.param(ALL, marks=pytest.mark.nightly)])
def test_headers_of_an_email_have_no_line_of_a_string(settings, strings):  # noqa: F811
    message = replace(sample_email(settings, Kind(), SHOP), html="x", text="x")
    sender = Address("Shop", addr_spec="a@shop.example")
    names = [*build_email(message, sender)]
    for text in strings:
        to = replace(message.to, name=text)
        try:
            email = build_email(replace(message, subject=text, sender_name=text, to=to), sender)
        except ValueError:
            continue
        parsed = message_from_bytes(email.as_bytes(), policy=policy.SMTP)
        assert [*parsed] == names, text
        assert not any("\n" in value or "\r" in value for value in parsed.values())
        assert parsed["To"].addresses[0].addr_spec == "ann@example.com"
        assert len(parsed["To"].addresses) == len(parsed["From"].addresses) == 1


def test_cells_of_a_table_are_no_formulas():
    content = to_csv(pd.DataFrame({"a": ALL, "b": ALL[::-1]})).decode("utf-8-sig")
    for delimiter in (",", ";", "\t"):
        for row in csv.reader(io.StringIO(content, newline=""), delimiter=delimiter):
            assert not any(cell.startswith(DANGEROUS[:5]) for cell in row if cell != "-"), row


def test_a_line_of_terminal_or_log_moves_nothing():
    formatter = LineFormatter()
    for text in ALL:
        assert not CONTROL.search(str(templating.strip_controls(text)))
        record = logging.LogRecord("x", logging.INFO, "f", 1, "of %s", (text,), None)
        line = formatter.format(record)
        assert "\n" not in line
        assert "\r" not in line
        assert not CONTROL.search(line), text


COMMANDS = (
    *("{}", "score {}", "audience save x {}", "audience save {} spend>5", "sweep --audience {}"),
    *("schedule add {} --every 'mon 09:00'", "alert add {} 'risk >= high'", "titles {}"),
    *("campaign show {}", "policy set {}", "ask {}", "jobs cancel {}", "role grant {} viewer"),
    *("recommend '{}'", "campaign draft --name '{}'", "language {}", "help {}", "glossary {}"),
)


@pytest.mark.nightly_after(1)
@pytest.mark.parametrize("command", COMMANDS)
def test_answer_to_hostile_command_contains_it(monkeypatch, request, command):
    monkeypatch.setattr(rate_limit, "REQUESTS", 1_000_000)
    walk.run_at_once(monkeypatch)
    slack = request.getfixturevalue("workspace")
    slack.api.answers["usergroups.users.list"] = {"ok": True, "users": []}
    slack.api.answers["usergroups.list"] = {"ok": True, "usergroups": []}
    for text in SHORT[::10] if command == COMMANDS[0] else SHORT:
        typed = command.format(text)
        if typed.strip():
            answer = slack.send(slack.form(typed, ADMIN), walk.FORM)
            assert answer.status == 200, text
            shown = json.loads(answer.body) if answer.body else {}
            assert_contained([shown.get("text", ""), *mrkdwn(shown.get("blocks", []))])
            for said in (shown.get("text", ""), *mrkdwn(shown.get("blocks", []))):
                assert not CONTROL.search(said), text
                assert "under the reference" not in said, text
