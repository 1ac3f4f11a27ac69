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
from textwrap import shorten
from typing import Any

from slack_bolt import App
from sqlalchemy.orm import Session

from bot.ask import Subject, Understanding, changes, understand
from bot.ask.endpoint import ask_endpoint
from bot.ask.lines import word_of
from bot.ask.places import Gap
from bot.ask.sentence import clean, is_chinese
from bot.ask.vocabulary import of_shop
from bot.commands import SLACK, Answer, Call
from bot.commands.parsing import ParsedCommand, parse
from bot.dropped_files import Drop, receive
from bot.failures import error_message
from bot.rate_limit import TokenBuckets
from bot.services import Services, first_time
from retention import clock
from retention.db.tables import Campaign
from retention.errors import BadInput, Refused
from retention.keys import keyed_hash
from retention.privacy import pseudonym
from retention.text import available_languages, gettext, set_language
from workers import jobs, languages, roles, threads
from workers.delivery import outbox
from workers.job_messages import show_progress
from workers.requests import Request, title_of
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


def register(app: App, services: Services) -> None:
    """Listen to mentions, direct messages and dropped files.

    Parameters
    ----------
    app : App
        The Slack app.
    services : Services
        The installation's services.
    """
    buckets = TokenBuckets(MESSAGES, SECONDS)

    def hear(event: dict[str, Any], context: dict[str, Any]) -> None:
        drop = Drop.of(event)
        if drop and buckets.take(drop.user):
            receive(services, drop)
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


def _is_own_thread(services: Services, said: Said) -> bool:
    """Return whether the bot opened the thread, or was asked something in it."""
    with services.database.reading() as session:
        return threads.is_known(session, services.settings, said.channel, said.root)


def answer(services: Services, said: Said) -> None:
    """Answer a message in its thread.

    People also talk to each other below the bot's messages. There it answers a command that it
    understands, and a question; it lets other remarks pass.

    Parameters
    ----------
    services : Services
        The installation's services.
    said : Said
        The message.
    """
    _speak_language(services, said)
    try:
        understanding = _understand(services, said)
        if understanding.command is None:
            is_remark = said.is_aside and not _QUESTION.search(clean(said.text))
            if not is_remark and not _IDLE.fullmatch(clean(said.text)):
                _offer(services, said, understanding)
        else:
            act(
                services,
                said,
                understanding.command,
                understanding.unused,
                place_gap=understanding.place_gap,
            )
    except Exception as error:
        sentence = error_message(error, services.settings)
        _reply(services, said, "talk/refused", {"sentence": sentence})


def _speak_language(services: Services, said: Said) -> None:
    """Answer a Chinese sentence in Chinese, whatever the language of its person and place."""
    settings, key = services.settings, said.thread_key
    asked = CHINESE if is_chinese(clean(said.text)) else None
    if key is None or (asked and asked not in available_languages()):
        return
    with services.database.reading() as session:
        known = languages.of_thread(session, settings, key)
    if known != asked:

        def store(session: Session) -> None:
            languages.choose_for_thread(session, settings, key, asked)

        services.group_commit.store(store)
    if asked:
        set_language(asked)


def _understand(services: Services, said: Said) -> Understanding:
    today = clock.now().astimezone(services.settings.zone).date()
    with services.database.reading() as session:
        topic = threads.topic_of(session, services.settings, said.channel, said.root)
    subject = Subject(topic.command, topic.cohort, topic.customer, topic.campaign, topic.customers)
    understanding = understand(said.text, today, subject, **of_shop(services))
    if understanding.command is None and not _IDLE.fullmatch(clean(said.text)):
        return ask_endpoint(services.settings, clean(said.text)) or understanding
    return understanding


def act(
    services: Services,
    said: Said,
    line: str,
    unused: tuple[str, ...] = (),
    *,
    place_gap: Gap = "",
    confirmed: bool = False,
    quiet: bool = False,
    hidden: bool = False,
) -> bool:
    """Run a command line, or ask before a change.

    Parameters
    ----------
    services : Services
        The installation's services.
    said : Said
        The person, the thread and the idempotency key.
    line : str
        The command line.
    unused : tuple of str, optional
        Parts of the sentence that the command does not express.
    place_gap : str, optional
        What the data lacks for an unused place; see `bot.ask.places.gap`.
    confirmed : bool, optional
        The person has pressed the button.
    quiet : bool, optional
        Another message of the thread shows the command.
    hidden : bool, optional
        The channel must not see whom the command names.

    Returns
    -------
    bool
        False if the same delivery was answered before.

    Raises
    ------
    NotAllowed
        The person's role does not allow the command.
    BadInput
        A value is wrong.
    """
    parsed = parse(line, lambda: _role(services, said.user))
    with services.database.reading() as session:
        roles.require(
            session, services.settings, said.user, parsed.command.role, parsed.command.deed
        )
    line, parsed, names_person = _with_pseudonym(services, said, line, parsed)
    hidden = hidden or (names_person and not said.is_direct)
    shown = {
        "line": _shown_line(line, hidden=hidden),
        "command": line,
        "hidden": hidden,
        "unused": list(unused),
        "place_gap": place_gap,
        "savable": takes_audience(line),
    }
    if changes(line) and not confirmed:
        return _propose(services, said, shown)
    call = Call(services, said.user, SLACK, f"{said.key}:run", said.channel)
    result = parsed.command.handle(call, parsed.params)
    is_private = parsed.command.private
    if isinstance(result, Request):
        is_private = is_private or result.is_private
        return _start(services, said, shown, result, private=is_private, quiet=quiet)
    return _show(services, said, shown, result, private=is_private)


def _shown_line(line: str, *, hidden: bool) -> str:
    """Return a command line without its values, if a channel must not see whom it names."""
    return f"{parse(line).command.path} …" if hidden else line


def _role(services: Services, user: str) -> str:
    with services.database.reading() as session:
        return roles.role_of(session, services.settings, user)


def _with_pseudonym(
    services: Services, said: Said, line: str, parsed: ParsedCommand
) -> tuple[str, ParsedCommand, bool]:
    """Replace a customer's id, address or name.

    Return also whether a channel must not see the pseudonym: it must not learn which one a name
    has, neither in the answer to the name nor in what follows it in the thread.
    """
    typed = parsed.params.get("customer")
    if not isinstance(typed, str):
        return line, parsed, False
    from retention.lake import customer_directory

    with services.database.reading() as session:
        try:
            found = customer_directory.find_match(session, services.settings, typed)
        except customer_directory.Namesakes as error:
            if said.is_direct:
                raise
            raise BadInput(
                gettext("Several customers have this name. Ask me in a direct message.")
            ) from error
        topic = threads.topic_of(session, services.settings, said.channel, said.root)
    name = pseudonym(services.settings.key, found.customer_id)
    line = f" {line} ".replace(f" {word_of(typed)} ", f" {name} ", 1).strip()
    parsed = ParsedCommand(parsed.command, {**parsed.params, "customer": name})
    is_from_thread = name == topic.customer and typed.lower() not in said.text.lower()
    return line, parsed, found.by_name or is_from_thread


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
    request.check_worker_limits()
    settings, line = services.settings, str(shown["command"])
    elsewhere = private and not said.is_direct
    channel = said.user if private else said.channel
    key = None if elsewhere else said.thread_key

    def store(session: Session) -> jobs.Submission | None:
        submission = jobs.submit(
            session,
            settings,
            request,
            requested_by=said.user,
            channel=channel,
            idem_key=f"{said.key}:run",
            thread_key=key,
            announce=False,  # the command comes first, then the progress
        )
        if not first_time(session, said.key):
            return None
        if said.root:
            threads.remember(session, settings, said.channel, said.root, line, submission.job.id)
        values = {
            **shown,
            "elsewhere": elsewhere,
            "joined": submission.joined,
            "title": title_of(request.kind),
            "changes": changes(line),
        }
        if not quiet or elsewhere or submission.joined:
            _put(session, services, said, "talk/understood", values)
        if submission.created:
            show_progress(session, settings, submission.job)
        return submission

    submission = services.group_commit.store(store)
    if submission is not None and not submission.joined:
        services.queue.wake(submission.job)
    return submission is not None


def _show(
    services: Services, said: Said, shown: dict[str, Any], result: Answer, *, private: bool
) -> bool:
    """Show an immediate answer below the command; a private one to the person only."""
    line, preface = str(shown["command"]), ("talk/ran", shown)
    direct = replace(said, channel=said.user, root="", key=f"{said.key}:private")

    def store(session: Session) -> bool:
        is_first = first_time(session, said.key)
        if is_first:
            if said.root:
                threads.remember(session, services.settings, said.channel, said.root, line, None)
            if private and not said.is_direct:
                values = {**shown, "elsewhere": True, "joined": False}
                _put(session, services, said, "talk/understood", values)
                _put(session, services, direct, result.template, result.data)
            else:
                _put(session, services, said, result.template, result.data, preface=preface)
        return is_first

    return services.group_commit.store(store)


def _propose(services: Services, said: Said, shown: dict[str, Any]) -> bool:
    """Show a change with the button that makes it."""
    line = str(shown["command"])
    return _reply(
        services,
        said,
        "talk/proposal",
        {
            **shown,
            "title": deed_of(line),
            "value": sealed(services, said, line, hidden=bool(shown["hidden"])),
        },
    )


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


def _reply(services: Services, said: Said, template: str, values: dict[str, Any]) -> bool:
    def store(session: Session) -> bool:
        is_first = first_time(session, said.key)
        if is_first:
            _put(session, services, said, template, values)
        return is_first

    return services.group_commit.store(store)


def _put(
    session: Session,
    services: Services,
    said: Said,
    template: str,
    values: dict[str, Any],
    preface: tuple[str, dict[str, Any]] | None = None,
) -> None:
    post = Post(
        template,
        values,
        key=said.key,
        channel=said.channel,
        thread_key=said.thread_key,
        preface=preface,
    )
    outbox.put(session, services.settings, post, default_channel=said.channel)


def takes_audience(line: str) -> bool:
    """Return whether a saved audience can limit a command.

    Parameters
    ----------
    line : str
        A command line that the tree accepts.
    """
    return any("--audience" in option.opts for option in parse(line).command.params)


def deed_of(line: str) -> str:
    """Return a command in words: the first sentence of its help.

    Parameters
    ----------
    line : str
        A command line that the tree accepts.
    """
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
    """Return a button's value: the command, its place, and a signature over both.

    Parameters
    ----------
    services : Services
        The installation's services.
    said : Said
        The message that the button answers.
    line : str
        The command line.
    hidden : bool, optional
        The channel must not see whom the command names.

    Raises
    ------
    BadInput
        The command is too long for a button.
    """
    content = json.dumps(
        {
            "line": line,
            "hidden": hidden,
            "key": said.key,
            "channel": said.channel,
            "root": said.root,
            "at": int(clock.wall().timestamp()),
        },
        separators=(",", ":"),
        ensure_ascii=False,
    )
    value = f"{_signature(services, content)}{content}"
    if len(value) > MAX_VALUE:
        raise BadInput(
            gettext("The command has {count} characters; shorten your text, please.").format(
                count=len(line)
            )
        )
    return value


@dataclass(frozen=True, slots=True)
class Proposal:
    """The opened value of a button."""

    line: str
    said: Said
    hidden: bool = False  # the channel must not see whom the command names


def opened(services: Services, value: str, user: str) -> Proposal:
    """Verify a button's value.

    Parameters
    ----------
    services : Services
        The installation's services.
    value : str
        The value.
    user : str
        The person who pressed.

    Raises
    ------
    BadInput
        We did not make the value, or it is older than a day.
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
    """Make the proposed change once, and say so in place of the buttons.

    Parameters
    ----------
    services : Services
        The installation's services.
    proposal : Proposal
        With the person who pressed.

    Raises
    ------
    Refused
        The role does not allow it, or the command is wrong by now. The buttons stay.
    """
    said, line = proposal.said, proposal.line
    confirmed = replace(said, key=f"{said.key}:confirmed")
    if act(services, confirmed, line, confirmed=True, quiet=True, hidden=proposal.hidden):
        decided(services, proposal, "done")


def decided(services: Services, proposal: Proposal, outcome: str) -> None:
    """Replace a proposal's buttons by the decision.

    Parameters
    ----------
    services : Services
        The installation's services.
    proposal : Proposal
        With the person who pressed.
    outcome : str
        ``done`` or ``declined``.
    """
    said = proposal.said

    def store(session: Session) -> None:
        if first_time(session, f"{said.key}:decided"):
            values = {
                "line": _shown_line(proposal.line, hidden=proposal.hidden),
                "title": deed_of(proposal.line),
                "user": said.user,
                "outcome": outcome,
            }
            _put(session, services, said, "talk/decided", values)

    services.group_commit.store(store)


def choose(services: Services, proposal: Proposal, click_key: str) -> None:
    """Run an alternative that a person chose; a change still asks first.

    Parameters
    ----------
    services : Services
        The installation's services.
    proposal : Proposal
        With the person who pressed.
    click_key : str
        Idempotency key of the click.
    """
    said = replace(proposal.said, key=f"said:{click_key}")
    try:
        act(services, said, proposal.line)
    except Refused as error:
        _reply(services, said, "talk/refused", {"sentence": str(error)})
