"""Summaries of the top-level commands.

Help and suggestions use them, so that neither imports a command. A test compares them with the
commands.
"""

from dataclasses import dataclass

from retention.text import gettext

SLACK, TERMINAL = "slack", "terminal"
BOTH = frozenset({SLACK, TERMINAL})


@dataclass(frozen=True, slots=True)
class Summary:
    """What a command does, and where it is available."""

    help: str
    surfaces: frozenset[str] = BOTH


_TERMINAL_ONLY = frozenset({TERMINAL})

# In the order of help and documentation. Each is a file of this folder.
SUMMARIES = {
    "help": Summary(gettext("What you can do here. With a command's name, its options.")),
    "init": Summary(
        gettext(
            "Make the home: the secret key, the database, the lake; all of it may be there already."
        ),
        _TERMINAL_ONLY,
    ),
    "start": Summary(
        gettext("Turn a file of orders into a list of customers at risk."), _TERMINAL_ONLY
    ),
    "import": Summary(
        gettext(
            "Import CSV, TSV, Parquet, JSON Lines or a workbook (or a database's query) "
            "into a table of the lake."
        ),
        _TERMINAL_ONLY,
    ),
    "source": Summary(
        gettext("Import data on a schedule: from files, object stores, databases and shops.")
    ),
    "data": Summary(gettext("What has been imported, and how good it is.")),
    "definition": Summary(gettext("What churn means in this shop.")),
    "identity": Summary(gettext("Who is one customer: link, review, undo."), _TERMINAL_ONLY),
    "retrain": Summary(
        gettext(
            "Train new models on the history before the cutoff and promote them where they "
            "are better."
        ),
    ),
    "models": Summary(gettext("Which models there are, and which one is used.")),
    "evaluate": Summary(
        gettext("How good a model is on what came true, beside simple baselines."),
        _TERMINAL_ONLY,
    ),
    "score": Summary(
        gettext(
            "One customer: risk, reasons, value, what they would like. Give an id, a "
            "pseudonym, a name or an e-mail address."
        ),
    ),
    "sweep": Summary(gettext("List the customers that deserve the team's time, and say why.")),
    "cohort": Summary(
        gettext(
            "Retention by cohort: of those who first bought in a month, the share that "
            "bought 1, 2, 3 … months later."
        ),
    ),
    "customers": Summary(
        gettext("How many customers there are, and who spent most. At risk or not.")
    ),
    "sales": Summary(
        gettext(
            "Sales, orders, customers and new customers of some days, against as many days before."
        )
    ),
    "audience": Summary(gettext("Named groups of customers: save, list, show, delete.")),
    "glossary": Summary(gettext("What the desk's words mean. Without a word, all of them.")),
    "ask": Summary(gettext("Ask in a sentence, in English or Chinese; see the command for it.")),
    "recommend": Summary(
        gettext(
            "What this customer would like next, and why. Give an id, a pseudonym, a name or an "
            "e-mail address."
        ),
    ),
    "campaign": Summary(gettext("Coupon campaigns: draft, approve, follow.")),
    "brand": Summary(
        gettext("What e-mails look like: the shop's name, colours, address, links and languages."),
    ),
    "digest": Summary(gettext("The week in one message, now or each week.")),
    "schedule": Summary(gettext("Run lists, digests, reports and retrains by themselves.")),
    "alert": Summary(
        gettext("Hear of customers, campaigns, data and models when something happens.")
    ),
    "report": Summary(gettext("How what the desk does turns out.")),
    "jobs": Summary(gettext("What the workers are doing and have done.")),
    "posts": Summary(gettext("Messages that did not reach Slack."), _TERMINAL_ONLY),
    "status": Summary(gettext("Models, data, queue and processes at a glance.")),
    "role": Summary(gettext("Who may do what.")),
    "keys": Summary(gettext("Keys with which other systems read scores."), _TERMINAL_ONLY),
    "language": Summary(gettext("In which language the desk writes to you or to a channel.")),
    "forget": Summary(
        gettext(
            "Erase a customer everywhere, for good; counts stay, and no later file brings "
            "them back."
        ),
    ),
    "run": Summary(
        gettext(
            "Start the bot, the workers, the tick and the sender, and stop them cleanly on Ctrl-C."
        ),
        _TERMINAL_ONLY,
    ),
    "demo": Summary(
        gettext(
            "Try everything in a browser: a real shop's year, a page that speaks Slack's "
            "protocol, a time machine."
        ),
        _TERMINAL_ONLY,
    ),
    "db": Summary(gettext("The operational database."), _TERMINAL_ONLY),
    "backup": Summary(
        gettext(
            "Back up database, lake and models into FILE (.tar.gz) while everything runs; "
            "the output says if it has the key."
        ),
        _TERMINAL_ONLY,
    ),
    "restore": Summary(
        gettext("Bring a backup into an empty home, every file checked first; then start as ever."),
        _TERMINAL_ONLY,
    ),
    "rotate-keys": Summary(
        gettext(
            "Make a new root key; links and seals made with older ones stay valid. Stop the "
            "processes first, start them after."
        ),
        _TERMINAL_ONLY,
    ),
}
