"""Answer mentions and direct messages in their threads.

A message is read as a command (`bot.ask`). A reading command runs at once. A change is shown
with a button first, and the role is checked again at the click. Every answer is an outbox row
with the message's own key, so Slack's retries answer once.
"""

import hmac
import json
import logging
import re
from dataclasses import dataclass, replace
from functools import partial
from textwrap import shorten
from typing import Any

from slack_bolt import App

from bot.ask import Subject, Understanding, changes, understand
from bot.ask.endpoint import ask_endpoint
from bot.ask.lines import word_of
from bot.ask.places import Gap
from bot.ask.references import of_shop
from bot.ask.sentence import clean, is_chinese
from bot.commands.parsing import ParsedCommand, parse
from bot.commands.tree import SLACK, Answer, Call
from bot.http.rate_limit import TokenBuckets
from bot.services import Services, first_time
from bot.slack.failures import error_message
from bot.slack.interactions.dropped_files import Drop, receive
from retention import clock
from retention.db import Transaction
from retention.db.tables import Campaign
from retention.errors import BadInput, Refused
from retention.keys import keyed_hash
from retention.lake import customer_directory
from retention.privacy import pseudonym
from retention.text import available_languages, gettext, set_language
from workers import hints, languages
from workers.data import voice_clips
from workers.delivery import outbox, threads
from workers.delivery.job_messages import show_progress
from workers.job_requests import Request, title_of
from workers.queue import jobs
from workers.tasks.interface import Post

log = logging.getLogger("retention.bot")

MESSAGES, SECONDS = 20, 60  # per person; more are not answered
CHINESE = "zh"
PROPOSAL_SECONDS = 24 * 3600  # how long a button can be pressed
MAX_TITLE = 75  # characters of a button
MAX_VALUE = 1900  # characters of a button's value; Slack allows 2,000
_IDLE = re.compile(
    r"(?:ok(?:ay)?|thanks?(?: (?:you|a lot|so much))*|thx|ty|great|perfect|cool|nice|super|"
    r"谢谢?你?|好的?|多谢|辛苦了)[\s!.,。！]*",
    re.IGNORECASE,
)
_QUESTION = re.compile(
    r"[?？]\s*$|[吗呢]\W*$|^(?:which|who|whom|what|why|how|when|where)\b|哪|谁|多少|什么|怎么",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Said:
    """A person's message to the bot.

    ``root`` is the thread's first message. ``key`` is equal for all deliveries of the message.
    ``is_aside`` is true for a reply in a channel's thread that does not mention the bot.
    """

    user: str
    channel: str
    text: str
    root: str
    key: str
    is_aside: bool = False

    @property
    def is_direct(self) -> bool:
        """Whether only this person reads the channel."""
        return self.channel[0] in "DUW"

    @property
    def thread_key(self) -> str | None:
        """Outbox key of the thread; None for an answer outside of threads."""
        return threads.thread_key(self.channel, self.root) if self.root else None

    @classmethod
    def of(cls, event: dict[str, Any]) -> "Said | None":
        """Read an event; None if it is no message of a person to the bot.

        Messages of apps, edits and joins have a ``bot_id``, an ``app_id`` or a ``subtype``. A reply
        in a channel's thread counts only if it mentions nobody: a mention is an event of its own.
        """
        is_of_person = not any(event.get(field) for field in ("bot_id", "app_id", "subtype"))
        is_to_bot = event.get("type") == "app_mention" or event.get("channel_type") == "im"
        user, channel, ts = event.get("user"), event.get("channel"), event.get("ts")
        text = event.get("text") or ""
        is_reply = event.get("thread_ts") not in (None, ts)
        is_aside = not is_to_bot and is_reply and "<@" not in text
        if not (is_of_person and (is_to_bot or is_aside) and user and channel and ts and text):
            return None
        root = event.get("thread_ts") or ts
        key = f"said:{channel}:{ts}"
        return cls(str(user), str(channel), text, str(root), key, is_aside)


@dataclass(frozen=True, slots=True)
class Line:
    """A command line, and what the sentence behind it leaves open.

    ``place_gap`` is what the data lacks for an unused place; see `bot.ask.places.gap`.
    """

    text: str
    unused: tuple[str, ...] = ()
    place_gap: Gap = ""
    hidden: bool = False  # the channel must not see whom the command names


def register(app: App, services: Services) -> None:
    """Listen to mentions, direct messages and dropped files."""
    buckets = TokenBuckets(MESSAGES, SECONDS)

    def hear(event: dict[str, Any], context: dict[str, Any]) -> None:
        drop = Drop.of(event)
        if drop and buckets.take(drop.user):
            rest = tuple(file for file in drop.files if not _answer_voice(services, drop, file))
            receive(services, replace(drop, files=rest))
        said = None if drop else Said.of(event)
        if said is None or said.user == context.get("bot_user_id"):
            return
        if said.is_aside and not _is_own_thread(services, said):
            return
        if not buckets.take(said.user):
            log.warning("%s writes too often; a message is not answered", said.user)
            return
        answer(services, said)

    app.event("app_mention")(hear)
    app.event("message")(hear)


def _answer_voice(services: Services, drop: Drop, file: dict[str, Any]) -> bool:
    """Answer a voice message that Slack has transcribed already; false for any other file."""
    words = voice_clips.words(file) if voice_clips.is_voice(file) else None
    if words is None or len(words) > voice_clips.MAX_CHARACTERS:
        return False
    said = Said(drop.user, drop.channel, words, drop.root, f"said:{drop.key}:{file['id']}")
    heard = {"text": words, "source": "slack", "job": None}
    _reply(services, replace(said, key=f"{said.key}:heard"), "talk/heard", heard)
    answer(services, said)
    return True


def _is_own_thread(services: Services, said: Said) -> bool:
    """Return whether the bot opened the thread, or was asked something in it."""
    with services.database.reading() as session:
        return threads.is_known(session, said.channel, said.root)


def answer(services: Services, said: Said) -> None:
    """Answer a message in its thread.

    People also talk to each other below the bot's messages. There it answers a command that it
    understands, and a question; it lets other remarks pass.
    """
    _speak_language(services, said)
    try:
        understanding = _understand(services, said)
        if understanding.command is None:
            is_remark = said.is_aside and not _QUESTION.search(clean(said.text))
            if not is_remark and not _IDLE.fullmatch(clean(said.text)):
                _offer(services, said, understanding)
        else:
            line = Line(understanding.command, understanding.unused, understanding.place_gap)
            act(services, said, line)
    except Exception as error:
        sentence = error_message(error, services.settings)
        _reply(services, said, "talk/refused", {"sentence": sentence})


def _speak_language(services: Services, said: Said) -> None:
    """Answer a Chinese sentence in Chinese, whatever the language of its person and place."""
    key = said.thread_key
    asked = CHINESE if is_chinese(clean(said.text)) else None
    if key is None or (asked and asked not in available_languages()):
        return
    with services.database.reading() as session:
        known = languages.of_thread(session, key)
    if known != asked:
        choose = partial(languages.choose_for_thread, key=key, language=asked)
        services.group_commit.store(choose)
    if asked:
        set_language(asked)


def _understand(services: Services, said: Said) -> Understanding:
    today = clock.now().astimezone(services.settings.zone).date()
    with services.database.reading() as session:
        topic = threads.topic_of(session, said.channel, said.root)
    subject = Subject(topic.command, topic.cohort, topic.customer, topic.campaign, topic.customers)
    understanding = understand(said.text, today, subject, of_shop(services))
    if understanding.command is None and not _IDLE.fullmatch(clean(said.text)):
        return ask_endpoint(services.settings, clean(said.text)) or understanding
    return understanding


def act(
    services: Services, said: Said, line: Line, *, confirmed: bool = False, quiet: bool = False
) -> bool:
    """Run a command line, or ask before a change.

    Returns: false if the same delivery was answered before.
    """
    call = Call(services, said.user, SLACK, f"{said.key}:run", said.channel)
    parsed = parse(line.text, call)
    line, parsed = _with_pseudonym(services, said, line, parsed)
    shown = {
        "line": _shown_line(line.text, hidden=line.hidden),
        "command": line.text,
        "hidden": line.hidden,
        "unused": list(line.unused),
        "place_gap": line.place_gap,
        "savable": _takes_audience(line.text),
    }
    if changes(line.text) and not confirmed:
        value = sealed(services, said, line.text, hidden=line.hidden)
        proposal = {**shown, "title": deed_of(line.text), "value": value}
        return _reply(services, said, "talk/proposal", proposal)
    result = parsed.command.handle(call, parsed.params)
    is_private = parsed.command.private
    if isinstance(result, Request):
        is_private = is_private or result.is_private
        return _start(services, said, shown, result, private=is_private, quiet=quiet)
    return _show(services, said, shown, result, private=is_private)


def _shown_line(line: str, *, hidden: bool) -> str:
    """Return a command line without its values, if a channel must not see whom it names."""
    return f"{parse(line).command.path} …" if hidden else line


def _with_pseudonym(
    services: Services, said: Said, line: Line, parsed: ParsedCommand
) -> tuple[Line, ParsedCommand]:
    """Replace a customer's id, address or name.

    A channel must not learn which pseudonym a name has, neither in the answer to the name nor in
    what follows it in the thread: then the line is hidden.
    """
    typed = parsed.params.get("customer")
    if not isinstance(typed, str):
        return line, parsed

    with services.database.reading() as session:
        try:
            found = customer_directory.find_match(session, typed)
        except customer_directory.Namesakes as error:
            if said.is_direct:
                raise
            sentence = gettext("Several customers have this name. Ask me in a direct message.")
            raise BadInput(sentence) from error
        topic = threads.topic_of(session, said.channel, said.root)
    name = pseudonym(services.settings.key, found.customer_id)
    text = f" {line.text} ".replace(f" {word_of(typed)} ", f" {name} ", 1).strip()
    is_from_thread = name == topic.customer and typed.lower() not in said.text.lower()
    names_person = (found.by_name or is_from_thread) and not said.is_direct
    line = replace(line, text=text, hidden=line.hidden or names_person)
    return line, ParsedCommand(parsed.command, {**parsed.params, "customer": name})


# ---------------------------------------------------------------- what the thread shows


def _start(
    services: Services,
    said: Said,
    shown: dict[str, Any],
    request: Request,
    *,
    private: bool,
    quiet: bool,
) -> bool:
    """Queue a command's job; its progress and its result come into the thread."""
    request.check_worker_limits(services.settings)
    elsewhere = private and not said.is_direct

    def store(session: Transaction) -> jobs.Submission | None:
        if not first_time(session, said.key):  # also where an earlier delivery was refused
            return None
        submission = jobs.submit(
            session,
            request,
            requested_by=said.user,
            channel=said.user if private else said.channel,
            idem_key=f"{said.key}:run",
            thread_key=None if elsewhere else said.thread_key,
            announce=False,  # the command comes first, then the progress
        )
        _remember(session, said, shown, submission.job.id)
        if not quiet or elsewhere or submission.joined:
            values = {
                **shown,
                "elsewhere": elsewhere,
                "joined": submission.joined,
                "title": title_of(request.kind),
                "changes": changes(shown["command"]),
            }
            _put(session, said, "talk/understood", values)
        if submission.created:
            show_progress(session, submission.job)
        return submission

    submission = services.group_commit.store(store)
    if submission is not None and not submission.joined:
        services.queue.wake(submission.job)
    return submission is not None


def _show(
    services: Services, said: Said, shown: dict[str, Any], result: Answer, *, private: bool
) -> bool:
    """Show an immediate answer below the command; a private one to the person only."""

    def store(session: Transaction) -> bool:
        if not first_time(session, said.key):
            return False
        _remember(session, said, shown, None)
        if private and not said.is_direct:
            direct = replace(said, channel=said.user, root="", key=f"{said.key}:private")
            _put(session, said, "talk/understood", {**shown, "elsewhere": True, "joined": False})
            _put(session, direct, result.template, result.data)
        else:
            _put(session, said, result.template, result.data, preface=("talk/ran", shown))
        return True

    return services.group_commit.store(store)


def _remember(session: Transaction, said: Said, shown: dict[str, Any], job: str | None) -> None:
    if said.root:
        threads.remember(session, said.channel, said.root, shown["command"], job)


def _offer(services: Services, said: Said, understanding: Understanding) -> None:
    """Show the nearest commands as buttons."""
    lines = understanding.alternatives[:3]
    deeds = [deed_of(line) for line in lines]
    titles = list(deeds)
    with services.database.reading() as session:
        for at, line in enumerate(lines):
            campaign = session.get(Campaign, line.split()[2]) if len(line.split()) > 2 else None
            if campaign and deeds.count(deeds[at]) > 1:  # a name that several have
                titles[at] = shorten(f"{titles[at]}: {campaign.name}", MAX_TITLE, placeholder="…")
    choices = [
        {"line": line, "title": title, "value": sealed(services, said, line)}
        for line, title in zip(lines, titles, strict=True)
    ]
    _reply(services, said, "talk/unknown", {"choices": choices})


def _reply(
    services: Services, said: Said, template: str, values: dict[str, Any], *, of: str = ""
) -> bool:
    """Show a message once for each delivery, or for what it is the answer of."""

    def store(session: Transaction) -> bool:
        is_first = first_time(session, f"{said.key}{of}")
        if is_first:
            _put(session, said, template, values)
        return is_first

    return services.group_commit.store(store)


def _put(
    session: Transaction,
    said: Said,
    template: str,
    values: dict[str, Any],
    preface: tuple[str, dict[str, Any]] | None = None,
) -> None:
    key = said.key
    post = Post(
        template, values, key=key, channel=said.channel, thread_key=said.thread_key, preface=preface
    )
    outbox.put(session, post, default_channel=said.channel)


def _takes_audience(line: str) -> bool:
    """Return whether a saved audience can limit a command."""
    return any("--audience" in option.opts for option in parse(line).command.params)


def deed_of(line: str) -> str:
    """Return a command in words: the first sentence of its help."""
    names = {
        "sweep": gettext("List customers at risk"),
        "score": gettext("Show one customer"),
        "recommend": gettext("Recommend products"),
        "cohort": gettext("Show retention by cohort"),
        "digest": gettext("Show the week"),
        "campaign draft": gettext("Draft a campaign"),
        "campaign edit": gettext("Edit the campaign"),
        "campaign submit": gettext("Submit the campaign"),
        "campaign approve": gettext("Approve the campaign"),
        "campaign reject": gettext("Reject the campaign"),
        "campaign stop": gettext("Stop the campaign"),
        "campaign result": gettext("Show the campaign's result"),
        "campaign show": gettext("Show the campaign"),
        "campaign list": gettext("List campaigns"),
        "campaign my-calls": gettext("Show my calls"),
        "retrain": gettext("Retrain the models"),
        "forget": gettext("Erase a customer for good"),
        "role grant": gettext("Grant a role"),
        "digest schedule": gettext("Schedule the digest"),
        "digest off": gettext("Stop the digest"),
        "help": gettext("See what I can do"),
        "status": gettext("Show the status"),
        "models rollback": gettext("Go back to the model before"),
        "models": gettext("Show the models"),
        "schedule add": gettext("Run a command regularly"),
        "customers": gettext("Count customers and show the best"),
        "sales": gettext("Show sales"),
        "glossary": gettext("Explain a word"),
        "data": gettext("Check the data"),
        "jobs list": gettext("List jobs"),
    }
    words = line.split()
    return names.get(" ".join(words[:2])) or names.get(words[0]) or f"/retention {line}"


# ---------------------------------------------------------------- buttons


def sealed(services: Services, said: Said, line: str, *, hidden: bool = False) -> str:
    """Return a button's value: the command, its place, and a signature over both."""
    data = {
        "line": line,
        "hidden": hidden,
        "key": said.key,
        "channel": said.channel,
        "root": said.root,
        "at": int(clock.wall().timestamp()),
    }
    content = json.dumps(data, separators=(",", ":"), ensure_ascii=False)
    value = f"{_signature(services, content)}{content}"
    if len(value) > MAX_VALUE:
        message = gettext("The command has {count} characters; shorten your text, please.")
        raise BadInput(message.format(count=len(line)))
    return value


@dataclass(frozen=True, slots=True)
class Proposal:
    """The opened value of a button."""

    line: str
    said: Said
    hidden: bool = False  # the channel must not see whom the command names


def opened(services: Services, value: str, user: str) -> Proposal:
    """Verify a button's value.

    Raises `BadInput`: we did not make the value, or it is older than a day.
    """
    signature, content = value[:32], value[32:]
    if not hmac.compare_digest(signature, _signature(services, content)):
        raise BadInput(gettext("This button is not valid any more; please ask again."))
    data = json.loads(content)
    if clock.wall().timestamp() - data["at"] > PROPOSAL_SECONDS:
        raise BadInput(gettext("This button is older than a day; please ask again."))
    said = Said(user, data["channel"], "", data["root"], data["key"])
    return Proposal(data["line"], said, data.get("hidden", False))


def _signature(services: Services, content: str) -> str:
    return keyed_hash(services.settings.key, "proposal", content).hex()[:32]


def confirm(services: Services, proposal: Proposal) -> None:
    """Make the proposed change once, and say so in place of the buttons."""
    said = replace(proposal.said, key=f"{proposal.said.key}:confirmed")
    line = Line(proposal.line, hidden=proposal.hidden)
    if act(services, said, line, confirmed=True, quiet=True):
        decided(services, proposal, "done")


def decided(services: Services, proposal: Proposal, outcome: str) -> None:
    """Replace a proposal's buttons by the decision.

    `outcome`: ``done`` or ``declined``.
    """
    values = {
        "line": _shown_line(proposal.line, hidden=proposal.hidden),
        "title": deed_of(proposal.line),
        "user": proposal.said.user,
        "outcome": outcome,
    }
    _reply(services, proposal.said, "talk/decided", values, of=":decided")


def choose(services: Services, proposal: Proposal, click_key: str) -> None:
    """Run an alternative that a person chose; a change still asks first."""
    said = replace(proposal.said, key=f"said:{click_key}")
    try:
        act(services, said, Line(proposal.line))
    except Refused as error:
        _reply(services, said, "talk/refused", {"sentence": hints.sentence(error)})
