"""Describe the commands by the user's tasks: groups, titles and examples.

Help, the window of `/retention` and App Home use them. A command without an entry still appears,
with its own help as its title.
"""

from dataclasses import dataclass

from retention.text import gettext


@dataclass(frozen=True, slots=True)
class TaskGroup:
    """A kind of work. ``commands`` are first words; the last group has all others."""

    name: str
    title: str
    about: str
    commands: tuple[str, ...] = ()


GROUPS = (
    TaskGroup(
        "find",
        gettext("Find customers at risk"),
        gettext("List who is likely to leave, see why, and look up one customer."),
        ("ask", "sweep", "score", "recommend", "audience", "cohort"),
    ),
    TaskGroup(
        "win",
        gettext("Win customers back"),
        gettext("Draft an offer, have it approved, send it, and measure what it earned."),
        ("campaign", "calendar", "calls", "copy", "audit"),
    ),
    TaskGroup(
        "follow",
        gettext("Follow results"),
        gettext("Read the weekly digest and reports. Check the data, the models and the work."),
    ),
)


def _task(title: str, *examples: str) -> tuple[str, ...]:
    return (title, *examples)


# By the command's name: what it is for, in a few words, and commands that a person can type. The
# order is that of the window's list.
TASKS = {
    "ask": _task(gettext("Ask in your own words"), 'ask "who is about to leave in Berlin?"'),
    "sweep": _task(
        gettext("List customers at risk"),
        "sweep",
        "sweep --tier medium --top 20",
        "sweep --as-of 2017-10-02",
    ),
    "score": _task(
        gettext("Look up one customer"), "score 1243", "score G2VX-HM34", "score ann@example.com"
    ),
    "recommend": _task(
        gettext("See what a customer would like next"),
        "recommend 1243",
        "recommend 1243 --k 5 --policy new",
    ),
    "customers": _task(
        gettext("See how many customers there are and who spent most"),
        "customers",
        "customers --order newest --top 5",
    ),
    "sales": _task(
        gettext("See the sales of some days"), "sales", "sales --from 2017-09-01 --to 2017-09-07"
    ),
    "voices show": _task(
        gettext("See what customers write about"), "voices", "voices --since 2017-09-01"
    ),
    "voices rename": _task(gettext("Rename a theme"), 'voices rename 3 "Late delivery"'),
    "glossary": _task(gettext("See what a word means"), "glossary", "glossary hold-out"),
    "source quarantine": _task(
        gettext("See webhooks that could not be imported"),
        "source quarantine",
        "source quarantine --retry 3",
    ),
    "audience save": _task(
        gettext("Save an audience"), 'audience save lapsing "risk >= medium and value > 200"'
    ),
    "audience list": _task(gettext("See all audiences"), "audience", "audience list"),
    "audience show": _task(gettext("Open an audience"), "audience show lapsing"),
    "audience delete": _task(gettext("Delete an audience"), "audience delete lapsing"),
    "cohort": _task(gettext("See how many customers come back"), "cohort", "cohort --months 6"),
    "campaign draft": _task(
        gettext("Draft a campaign"),
        "campaign draft",
        "campaign draft --tier medium --name “Come back”",
        "campaign draft --channel sms",
    ),
    "campaign list": _task(gettext("See all campaigns"), "campaign", "campaign list --state live"),
    "calendar": _task(
        gettext("See the coming weeks"), "calendar", "calendar --weeks 12 --country US"
    ),
    "campaign show": _task(gettext("Open a campaign"), "campaign show k7m2"),
    "audit show": _task(gettext("See who did what to a campaign"), "audit k7m2"),
    "campaign edit": _task(
        gettext("Change a draft"),
        "campaign edit k7m2 --discount 12 --holdout 20",
        'campaign edit k7m2 --send-on "2017-10-03 09:00"',
    ),
    "campaign variants": _task(
        gettext("Test subjects or offers"),
        'campaign variants k7m2 --variant B --subject "Only for you"',
    ),
    "campaign preview": _task(gettext("Preview the e-mails"), "campaign preview k7m2"),
    "campaign submit": _task(gettext("Submit a draft for approval"), "campaign submit k7m2"),
    "campaign approve": _task(gettext("Approve a campaign"), "campaign approve k7m2"),
    "campaign reject": _task(
        gettext("Reject a campaign"), 'campaign reject k7m2 --reason "Too expensive"'
    ),
    "campaign stop": _task(
        gettext("Stop a campaign"), 'campaign stop k7m2 --reason "Wrong prices"'
    ),
    "campaign result": _task(gettext("See what a campaign earned"), "campaign result k7m2"),
    "campaign calls": _task(gettext("Open a call list"), "campaign calls k7m2"),
    "campaign holdout": _task(gettext("Leave a share out of all campaigns"), "campaign holdout 5"),
    "campaign my-calls": _task(gettext("See the calls that I have to make"), "campaign my-calls"),
    "campaign held": _task(gettext("See e-mails that may not have arrived"), "campaign held k7m2"),
    "campaign release": _task(
        gettext("Decide about e-mails that may not have arrived"),
        "campaign release k7m2 again",
        "campaign release k7m2 sent --copy 3",
    ),
    "campaign misuse": _task(gettext("See misused codes"), "campaign misuse k7m2"),
    "digest now": _task(gettext("See this week's digest"), "digest"),
    "digest schedule": _task(
        gettext("Schedule the digest in this channel"),
        "digest schedule",
        "digest schedule --day friday --at 16:30 --timezone Europe/Berlin",
    ),
    "digest list": _task(gettext("See scheduled digests"), "digest list"),
    "digest off": _task(gettext("Stop a scheduled digest"), "digest off", "digest off 2"),
    "schedule add": _task(
        gettext("Schedule a command"),
        'schedule add "sweep --tier high" --every "mon 09:00"',
        'schedule add digest --every "last-working-day 09:00"',
    ),
    "schedule list": _task(gettext("See what is scheduled"), "schedule"),
    "schedule pause": _task(gettext("Pause a schedule"), "schedule pause 3"),
    "schedule resume": _task(gettext("Resume a schedule"), "schedule resume 3"),
    "schedule run": _task(gettext("Run a schedule now"), "schedule run 3"),
    "schedule delete": _task(gettext("Delete a schedule"), "schedule delete 3"),
    "alert add": _task(
        gettext("Add an alert"), 'alert add vip-risk --when "risk >= high and value > 200"'
    ),
    "alert list": _task(gettext("See all alerts"), "alert", "alert list"),
    "alert test": _task(gettext("Try an alert on the past"), "alert test vip-risk"),
    "alert mute": _task(gettext("Switch an alert off"), "alert mute vip-risk"),
    "alert unmute": _task(gettext("Switch an alert on"), "alert unmute vip-risk"),
    "alert snooze": _task(
        gettext("Silence an alert for some days"), "alert snooze vip-risk --days 7"
    ),
    "alert delete": _task(gettext("Delete an alert"), "alert delete vip-risk"),
    "report recommend": _task(
        gettext("See how recommendations do"), "report recommend", "report recommend --days 28d"
    ),
    "report programme": _task(gettext("See what all campaigns earned"), "report programme"),
    "report promises": _task(gettext("Compare forecasts with results"), "report promises"),
    "source list": _task(gettext("See where data comes from"), "source", "source list"),
    "source show": _task(gettext("Open a source of data"), "source show orders"),
    "source run": _task(gettext("Pull new data now"), "source run orders"),
    "source pause": _task(gettext("Pause a source of data"), "source pause orders"),
    "source resume": _task(gettext("Resume a source of data"), "source resume orders"),
    "source remove": _task(gettext("Remove a source of data"), "source remove orders"),
    "data show": _task(gettext("Check the data"), "data"),
    "data pictures": _task(gettext("Look at pictures of products"), "data pictures"),
    "status": _task(gettext("See whether everything works"), "status"),
    "jobs list": _task(gettext("See running and past jobs"), "jobs", "jobs list --limit 20"),
    "jobs cancel": _task(gettext("Cancel a job"), "jobs cancel 3f9a2c"),
    "jobs retry": _task(gettext("Run a job again"), "jobs retry 3f9a2c"),
    "retrain": _task(
        gettext("Train new models"), "retrain", "retrain churn", "retrain churn --horizon 28d"
    ),
    "models list": _task(gettext("See the models"), "models", "models list --kind churn"),
    "models show": _task(gettext("Open a model"), "models show churn-20171002-1"),
    "models compare": _task(
        gettext("Compare two models"), "models compare churn-20171002-1 churn-20170904-1"
    ),
    "models check": _task(gettext("Check the model in use"), "models check"),
    "models card": _task(gettext("Read the model card"), "models card"),
    "models promote": _task(gettext("Use a model"), "models promote churn-20171002-1"),
    "models rollback": _task(gettext("Go back to the model before"), "models rollback churn"),
    "definition show": _task(gettext("See when a customer counts as lost"), "definition"),
    "definition set": _task(
        gettext("Change when a customer counts as lost"),
        "definition set --horizon 90d",
        "definition set --horizon 28d --active-within ever",
    ),
    "policy show": _task(gettext("See limits and offers"), "policy"),
    "policy set": _task(
        gettext("Change a limit or an offer"),
        "policy set campaign.budget=5000",
        "policy set campaign.holdout=15%",
    ),
    "policy history": _task(gettext("See who changed the policy"), "policy history"),
    "policy rollback": _task(gettext("Take changes of the policy back"), "policy rollback 2"),
    "policy proposals": _task(gettext("See proposed changes of the policy"), "policy proposals"),
    "policy approve": _task(gettext("Approve a proposed change"), "policy approve 3"),
    "policy reject": _task(
        gettext("Reject a proposed change"), 'policy reject 3 --reason "Too expensive"'
    ),
    "brand": _task(gettext("See what e-mails look like"), "brand"),
    "role list": _task(gettext("See who may do what"), "role"),
    "role grant": _task(gettext("Give a person or group a role"), "role grant U0ANALYST analyst"),
    "language": _task(
        gettext("Choose a language"), "language", "language en", "language en --for channel"
    ),
    "privacy periods": _task(gettext("See how long what is kept"), "privacy"),
    "privacy budget": _task(gettext("See the privacy budget"), "privacy budget"),
    "privacy release": _task(
        gettext("Release the sizes of audiences, rounded for privacy"), "privacy release"
    ),
    "why": _task(gettext("See what was decided about a customer"), "why 1243"),
    "forget": _task(gettext("Erase a customer"), "forget 1243"),
    "help": _task(gettext("See what you can do"), "help", "help sweep"),
}


def group_of(name: str) -> TaskGroup:
    """Return the group of a command.

    `name`: the command's name, such as ``campaign draft``.

    Examples
    --------
    >>> group_of("campaign draft").name
    'win'
    """
    first = name.partition(" ")[0]
    return next((group for group in GROUPS if first in group.commands), GROUPS[-1])


def title_of_command(name: str, summary: str) -> str:
    """Return what a command is for, in a few words.

    `summary`: the command's help, for a command without a task.
    """
    return TASKS[name][0] if name in TASKS else summary.partition(".")[0]


def examples_of(name: str) -> tuple[str, ...]:
    """Return commands that a person can type, without ``/retention``."""
    return TASKS.get(name, ())[1:]
