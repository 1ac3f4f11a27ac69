"""Summaries of the top-level commands.

Help and suggestions use them, so that neither imports a command.
"""

from retention.text import gettext

SLACK, TERMINAL = "slack", "terminal"
BOTH = frozenset({SLACK, TERMINAL})

# In the order of help and documentation.
SUMMARIES = {
    "help": gettext("What you can do here. With a command's name, its options."),
    "init": gettext(
        "Make the home: the secret key, the database, the lake; all of it may be there already."
    ),
    "start": gettext("Turn a file of orders into a list of customers at risk."),
    "import": gettext(
        "Import CSV, TSV, Parquet, JSON Lines or a workbook (or a database's query) "
        "into a table of the lake."
    ),
    "source": gettext("Import data on a schedule: from files, object stores, databases and shops."),
    "data": gettext("What has been imported, and how good it is."),
    "definition": gettext("What churn means in this shop."),
    "identity": gettext("Who is one customer: link, review, undo."),
    "retrain": gettext(
        "Train new models on the history before the cutoff and promote them where they are better."
    ),
    "federate": gettext("Train one churn model with other shops' desks; no rows leave this one."),
    "models": gettext("Which models there are, and which one is used."),
    "evaluate": gettext("How good a model is on what came true, beside simple baselines."),
    "score": gettext(
        "One customer: risk, reasons, value, what they would like. Give an id, a "
        "pseudonym, a name or an e-mail address."
    ),
    "sweep": gettext("List the customers that deserve the team's time, and say why."),
    "cohort": gettext(
        "Retention by cohort: of those who first bought in a month, the share that "
        "bought 1, 2, 3 … months later."
    ),
    "customers": gettext("How many customers there are, and who spent most. At risk or not."),
    "sales": gettext(
        "Sales, orders, customers and new customers of some days, against as many days before."
    ),
    "voices": gettext("What customers write about: themes, their change, and the revenue at risk."),
    "audience": gettext("Named groups of customers: save, list, show, delete."),
    "glossary": gettext("What the desk's words mean. Without a word, all of them."),
    "ask": gettext("Ask in a sentence, in English or Chinese; see the command for it."),
    "recommend": gettext(
        "What this customer would like next, and why. Give an id, a pseudonym, a name or an "
        "e-mail address."
    ),
    "campaign": gettext("Coupon campaigns: draft, approve, follow."),
    "calendar": gettext(
        "The campaigns and public holidays of the coming weeks, and customers in two campaigns."
    ),
    "titles": gettext("Titles of items that customers read: propose, accept, set."),
    "policy": gettext("Who gets which offer, and the limits and costs of campaigns."),
    "brand": gettext(
        "What e-mails look like: the shop's name, colours, address, links and languages."
    ),
    "digest": gettext("The week in one message, now or each week."),
    "schedule": gettext("Run lists, digests, reports and retrains by themselves."),
    "alert": gettext("Hear of customers, campaigns, data and models when something happens."),
    "report": gettext("How what the desk does turns out."),
    "jobs": gettext("What the workers are doing and have done."),
    "posts": gettext("Messages that did not reach Slack."),
    "status": gettext("Models, data, queue and processes at a glance."),
    "role": gettext("Who may do what."),
    "audit": gettext("Who did what to a campaign; check and export the audit log."),
    "keys": gettext("Keys with which other systems read scores."),
    "language": gettext("In which language the desk writes to you or to a channel."),
    "forget": gettext(
        "Erase a customer everywhere, for good; counts stay, and no later file brings them back."
    ),
    "privacy": gettext("How long is what kept, and why."),
    "why": gettext(
        "What was decided about a customer, by which rule and model, and what was sent."
    ),
    "export": gettext("Write everything that is stored about a customer to a file."),
    "run": gettext(
        "Start the bot, the workers, the tick and the sender, and stop them cleanly on Ctrl-C."
    ),
    "demo": gettext(
        "Try everything in a browser: a real shop's year, a page that speaks Slack's "
        "protocol, a time machine."
    ),
    "doctor": gettext(
        "Check settings, Slack, clock, disk, database, queue and processes, and say what to do."
    ),
    "db": gettext("The operational database."),
    "backup": gettext(
        "Back up database, lake and models into FILE while everything runs. The file is encrypted "
        "with RETENTION_BACKUP_PASSPHRASE, or to an age recipient; the output says if it has the "
        "secret key."
    ),
    "restore": gettext(
        "Bring a backup into an empty home, every file checked first; then start as ever."
    ),
    "rotate-keys": gettext(
        "Make a new root key; links and seals made with older ones stay valid. Stop the "
        "processes first, start them after."
    ),
}
# Commands in a file of another name.
FILES = {
    "access": ("role", "keys"),
    "campaign": ("brand",),
    "customers": ("score", "recommend", "forget", "cohort", "sales"),
    "help": ("glossary", "ask"),
    "import_": ("import",),
    "installation": (
        *("init", "run", "demo", "status", "db"),
        *("backup", "restore", "rotate-keys"),
    ),
    "jobs": ("posts",),
    "privacy": ("export", "why"),
    "reports": ("digest", "report", "calendar"),
}
_SET_UP = {"init", "start", "import", "run", "demo", "db", "backup", "restore", "rotate-keys"}
_TERMINAL_ONLY = _SET_UP | {
    *("identity", "evaluate", "federate", "posts", "keys", "titles", "doctor", "export")
}


def surfaces_of(name: str) -> frozenset[str]:
    """Return where a top-level command is available."""
    return frozenset({TERMINAL}) if name in _TERMINAL_ONLY else BOTH
