"""What is stored and for how long, and what was decided about a customer."""

from pathlib import Path
from typing import Any

import click

from bot.commands.parameters import CUSTOMER, TO_READ, TO_WRITE, integer, option
from bot.commands.tree import TERMINAL, Answer, Call, TerminalOption, command, group, request
from retention import clock
from retention.db.audit import record
from retention.errors import BadInput
from retention.paths import create_private_file
from retention.privacy import ledger
from retention.privacy.periods import PERIODS
from retention.text import gettext
from workers.job_requests import ReleaseCounts, Why

PRIVACY = group("privacy", default="periods")


@PRIVACY.command("periods", role="viewer", help=gettext("How long is what kept, and why."))
def periods(call: Call) -> Answer:
    """Show how long each kind of data is kept, and the privacy budget if there is one."""
    with call.database.reading() as session:
        budget = ledger.summary(session) if ledger.is_on(session) else None
    kept = [period.as_dict() for period in PERIODS]
    return Answer("bot/periods", {"periods": kept, "budget": budget})


@PRIVACY.command(
    "budget",
    role="viewer",
    help=gettext("The privacy budget of this week, what used it, and the last releases."),
)
def budget(call: Call) -> Answer:
    """Show the budget and the ledger."""
    with call.database.reading() as session:
        return Answer("privacy/budget", ledger.summary(session))


def write_counts(call: Call, data: dict[str, Any], csv: Path | None = None, **_: Any) -> None:
    """Write the released counts to a file."""
    if csv:
        csv.write_text(ledger.figures_csv(data["figures"]), encoding="utf-8", newline="")


@PRIVACY.command(
    "release",
    request=ReleaseCounts,
    after=write_counts,
    help=gettext(
        "Release the number of customers of each audience, rounded for privacy, once a week."
    ),
)
@option("--csv", gettext("Also write them to a file."), TO_WRITE, "FILE", cls=TerminalOption)
def release(call: Call, csv: Path | None = None) -> ReleaseCounts:
    """Queue the release of the audiences' counts."""
    return request(ReleaseCounts)


@PRIVACY.command(
    "verify",
    role="admin",
    surfaces=TERMINAL,
    help=gettext("Check the certificate of an erasure: who signed it, and what it says."),
)
@click.argument("file", type=TO_READ)
@option("--customer", gettext("Check that it is of this customer id, too."), CUSTOMER, "ID")
def verify(call: Call, file: Path, customer: str | None) -> Answer:
    """Check the signature of a certificate."""
    from retention.data_subject import certificate

    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        message = gettext("{file} cannot be read: {reason}.")
        raise BadInput(message.format(file=file, reason=error)) from None
    return Answer("bot/certificate", certificate.verify(call.settings.keys, text, customer))


@PRIVACY.command(
    "synthetic",
    role="admin",
    surfaces=TERMINAL,
    help=gettext(
        "Write a made-up shop with the same statistics and no real customer, for demos and bug "
        "reports, and check that it copies nobody."
    ),
)
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), metavar="FOLDER")
@option(
    "--customers", gettext("So many customers; by default as many as the shop."), integer(1), "N"
)
@option("--seed", gettext("Another number gives another shop."), integer(0), "N", default=0)
def synthetic(call: Call, folder: Path, customers: int | None, seed: int) -> Answer:
    """Write events.csv, customers.csv and items.csv of a made-up shop."""
    from retention.data_subject.synthetic_checks import write_made_up

    folder.mkdir(parents=True, exist_ok=True)
    return Answer("bot/synthetic", write_made_up(call.lake, folder, customers, seed))


@command("export", role="admin")
@click.argument("customer", type=CUSTOMER)
@option(
    "--file",
    gettext("Write here; by default a file in this folder, named by the pseudonym."),
    TO_WRITE,
    "FILE",
)
def export(call: Call, customer: str, file: Path | None) -> Answer:
    """Write everything that is stored about a customer to a file that others cannot read."""
    from retention import erasure
    from retention.data_subject.export import export as collect
    from retention.privacy import pseudonym

    customer_id = str(call.find_customer(customer)["customer_id"])
    lake, name = call.lake, pseudonym(call.settings.key, customer_id)
    with call.database.reading() as session:
        ids = erasure.all_ids(lake, session, [customer_id])
        content, rows = collect(lake, session, ids)
    path = file or Path(f"customer-{name}.json")
    path.unlink(missing_ok=True)  # an earlier file may be readable for others
    with create_private_file(path) as written:
        written.write(content.decode())
    with call.database.transaction() as session:
        record(session, call.user, "customer.export", name, clock.now(), {"rows": rows})
    return Answer("bot/exported", {"file": str(path), "rows": rows, "ids": len(ids)})


@command("why", request=Why, private=True)
@click.argument("customer", type=CUSTOMER)
def why(call: Call, customer: str) -> Why:
    """Queue the answer to what was decided about a customer."""
    return request(Why, **call.find_customer(customer))
