"""The faults, and the rows of the harness that inject them."""

from tests.faults.frame import SQLITE, Row

# The kinds of fault, each with its invariant, as docs/promises.md shows them.
FAULTS = {
    "kill": (
        "`kill -9` of a task's process, a worker, the tick, the sender or the bot; a worker that "
        "lost its lease goes on writing",
        "0 lost, 0 doubled",
    ),
    "broker": (
        "Valkey killed and started again, with and without its file; full; slow",
        "0 lost, 0 doubled; recovered 60 s after it is back",
    ),
    "database": (
        "PostgreSQL killed; connections cut amid a transaction; SQLite locked by another writer",
        "0 half-written; a one-sentence message; automatic recovery",
    ),
    "slack": (
        "Slack answers 429 or 500, hangs, closes, or accepts and then times out",
        "0 missing; pacing within limits; doubled only where Slack cannot say, counted as in doubt",
    ),
    "delivery": (
        "Slack delivers commands, clicks and submissions twice, out of order, or 10 minutes late",
        "one effect",
    ),
    "race": (
        "two users approve; one approves while one edits, rejects or stops; approve and expire at "
        "one instant",
        "one outcome; everyone sees the true outcome",
    ),
    "clock": (
        "both changes of the clocks, a leap day, the clock set back an hour, the tick down over a "
        "due time",
        "each slot fires once at the right local hour",
    ),
    "files": (
        "disk full, lake file damaged, model artefact swapped, secret key missing",
        "a refusal that names the cause; the last good state in use; nothing overwritten",
    ),
    "version": (
        "old and new version side by side; migrations killed half-way with the data of an old home",
        "no failed command, no lost row",
    ),
    "protocol": (
        "a state machine of hypothesis over jobs, messages, campaigns and codes breaks between any "
        "two statements",
        "0 lost, 0 doubled",
    ),
    "tampering": (
        "someone with the database's password changes, removes, swaps, adds or writes anew entries "
        "of the audit log",
        "the database refuses, or the check names the place",
    ),
    "live": (
        "kills of the live path and of the shop connections",
        "0 lost, 0 doubled; no code without approval",
    ),
}

# The slow ones first, so that a run does not end with one of them alone.
ROWS = (
    Row("race", "races of decisions", "tests.faults.races", 20, 50, 500),
    Row("kill", "processes of a desk", "tests.faults.processes", 5, 8, 20),
    Row("kill", "SIGTERM under load", "tests.faults.shutdowns", 0, 8, 24),
    Row("live", "codes at a shop", "tests.faults.shop_codes", 0, 6, 40),
    Row("kill", "kills at any statement", "tests.faults.step_kills", 10, 30, 150),
    Row("kill", "erasures", "tests.faults.forget_kills", 0, 6, 20, (SQLITE,)),
    Row("protocol", "state machine", "tests.faults.protocols", 10, 20, 110),
    Row("broker", "Valkey", "tests.faults.broker_faults", 0, 20, 200, (SQLITE,)),
    Row("database", "the database goes away", "tests.faults.database_faults", 0, 20, 110),
    Row("files", "disk and files", "tests.faults.files", 12, 30, 200, (SQLITE,)),
    Row("live", "live events", "tests.faults.live_kills", 0, 10, 60, (SQLITE,)),
    Row("live", "chats with customers", "tests.faults.chat_kills", 0, 6, 40),
    Row("live", "tests of variants", "tests.faults.variant_kills", 0, 6, 30, (SQLITE,)),
    Row("live", "webhooks of a shop", "tests.faults.webhook_kills", 0, 6, 40, (SQLITE,)),
    Row("live", "pulls of a source", "tests.faults.source_kills", 0, 6, 30),
    Row("slack", "answers of Slack", "tests.faults.slack_faults", 10, 30, 110),
    Row("delivery", "repeated deliveries", "tests.faults.deliveries", 10, 30, 110),
    Row("clock", "clocks and schedules", "tests.faults.clocks", 20, 40, 110),
    Row("version", "old and new version", "tests.faults.side_by_side", 0, 6, 40),
    Row("tampering", "audit log", "tests.faults.tampering", 20, 40, 110),
    Row("version", "migrations", "tests.faults.versions", 10, 30, 110),
)
