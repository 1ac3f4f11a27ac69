"""The faults, and the rows of the harness that inject them."""

from tests.faults.frame import SQLITE, Row

# The kinds of fault, each with its invariant, as docs/promises.md shows them.
FAULTS = {
    "kill": (
        "`kill -9` of a task's process, a worker, the tick, the sender or the bot; a worker that "
        "lost its lease goes on writing",
        "0 lost, 0 doubled",
    ),
    "live": (
        "kills of the live path and of the shop connections",
        "0 lost, 0 doubled; no code without approval",
    ),
}

ROWS = (
    Row("kill", "processes of a desk", "tests.faults.processes", 8, 12, 40),
    Row("live", "live events", "tests.faults.live_kills", 0, 12, 60, (SQLITE,)),
    Row("live", "codes at a shop", "tests.faults.shop_codes", 0, 12, 60),
    Row("live", "pulls of a source", "tests.faults.source_kills", 0, 10, 40),
    Row("live", "webhooks of a shop", "tests.faults.webhook_kills", 0, 10, 40, (SQLITE,)),
    Row("live", "tests of variants", "tests.faults.variant_kills", 0, 10, 40),
)
