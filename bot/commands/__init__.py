"""The one Click tree behind `/retention` and behind the terminal's `retention`. One file for each command.

A command file ``bot/commands/<name>.py`` defines ``COMMAND``: a `Command`, or a `Group` of them. The decorated function
is the whole command. It gets a `Call` (who asks, where, and the services) and the parsed parameters, and returns

- a ``workers.requests.Request``: work for the workers. Slack queues it and acknowledges; the terminal runs it here
  (or hands it over with ``--queue``). The function must be pure, and the command names its class, whose role it takes;
- an `Answer`: what can be said at once. Slack shows ``templates/slack/<template>.yaml.j2`` to the person alone, the
  terminal prints ``templates/terminal/<template>.txt.j2`` or, with ``--json``, the data.

For instance::

    @command("sweep", request=Sweep)
    @click.option("--tier", type=choice("high", "medium", "low"), default="high", help="The lowest tier to list.")
    @click.option("--csv", type=TO_WRITE, cls=TerminalOption, help="Also write the cohort here.")
    def COMMAND(call: Call, tier: str, csv: Path | None = None) -> Sweep:
        \"\"\"Score every active customer and say who is at risk, and why.\"\"\"
        return request(Sweep, tier=tier)

    @group("campaign", help="Coupon campaigns: draft, approve, follow.")
    def COMMAND(): ...

    @COMMAND.command("show", role="viewer")
    @click.argument("campaign")
    def show(call: Call, campaign: str) -> Answer:
        \"\"\"One campaign as it stands.\"\"\"
        with call.services.database.reading() as session:
            return Answer("campaign/show", {...})

Declared beside the parameters: ``role`` (needed for an Answer command; checked before the function runs),
``surfaces`` (``SLACK``, ``TERMINAL``, or ``BOTH``, the default), ``request`` (the class of the request it returns),
``private`` (results name people: they go to the asker's direct message), ``after`` (terminal only: what to do with
the result, e.g. write a file). Options that take a path or a URL use ``cls=TerminalOption``: Slack never sees them.
Raise ``retention.errors.BadInput`` and the like: the person gets that one sentence. Never prompt, echo, or read the
environment here. What changes something must be safe to deliver twice: ``call.first_time(session)`` is False on the
second delivery. Help, docs/commands.md and the manifest's usage hint are made from this tree.
"""

from bot.commands.tree import (
    BOTH,
    CUSTOMER,
    DAYS,
    DAYS_OR_EVER,
    MOMENT,
    PERSON,
    SLACK,
    TERMINAL,
    TO_WRITE,
    Answer,
    Call,
    Command,
    Group,
    TerminalOption,
    choice,
    command,
    group,
    request,
    root,
)

__all__ = [
    "BOTH",
    "CUSTOMER",
    "DAYS",
    "DAYS_OR_EVER",
    "MOMENT",
    "PERSON",
    "SLACK",
    "TERMINAL",
    "TO_WRITE",
    "Answer",
    "Call",
    "Command",
    "Group",
    "TerminalOption",
    "choice",
    "command",
    "group",
    "request",
    "root",
]
