"""Define the requests that workers can carry out.

Each kind of job has one validated, immutable model. Commands and buttons make a request, the job
row stores it in ``args``, and the task gets it back.
"""

from datetime import date
from typing import TYPE_CHECKING, Annotated, Literal, Self, get_args

from pydantic import Field, model_validator

from retention.errors import BadInput, Refused
from retention.pictures import extra as pictures_extra
from retention.privacy import extra as privacy_extra
from retention.privacy import ledger
from retention.risk.policy import load_policy
from retention.text import gettext, in_language
from retention.texts import extra
from workers.app import training_seconds
from workers.campaigns import job_requests as _of_campaigns  # noqa: F401 - its requests, too
from workers.job_request_base import (
    Anonymous,
    AudienceName,
    Condition,
    CustomerId,
    Days,
    DaysOrEver,
    Moment,
    OfSome,
    Request,
    Seconds,
    Tier,
    all_requests,
)

if TYPE_CHECKING:
    from retention.db import Transaction
    from retention.settings import Settings

ImportTable = Literal[
    "events", "customers", "items", "treatments", "relations", "texts", "redemptions", "bounces"
]
DigestSection = Literal["outcome", "campaigns", "items", "data"]
Estimator = Literal[
    "auto",
    "logistic",
    "quadratic",
    "horizons",
    "tree",
    "forest",
    "extra_trees",
    "svm",
    "neural",
    "boosting",
    "ensemble",
    "stacked",
    "bg_nbd",
    "bg_season",
    "rfm_logistic",
    "bg_logistic",
    "calendar_logistic",
    "calendar_boosting",
]
PRIVATE = "private"  # `retention.churn.private` loads the models
CHURN_MODELS = (*get_args(Estimator), PRIVATE)

RECOMMENDERS = (
    "user_knn_cosine",
    "user_knn_tfidf",
    "user_knn_bm25",
    "item_knn_cosine",
    "item_knn_tfidf",
    "item_knn_bm25",
    "als",
    "bpr",
    "logistic_mf",
    "ease",
    "repeat",
    "popular",
    "popular_segment",
    "trending",
    "content",
    "social",
    "mult_dae",
    "sasrec",
)
BLEND = ("auto", "blend")  # recommenders that rank the candidates of several models


# Share of a training's CPU time that a queued search may take on the clock. With four threads, it
# uses two thirds; the rest is for training and evaluating the winner.
TUNE_SHARE = 1 / 6


def _other_kind(model: str, kind: str, names: tuple[str, ...]) -> str:
    other = "recommend" if kind == "churn" else "churn"
    other_names = RECOMMENDERS if kind == "churn" else CHURN_MODELS
    if model in other_names:
        return gettext(
            "--model is {model!r}, which is a {other} model; write `/retention retrain {other} "
            "--model {model}`."
        ).format(model=model, other=other)
    text = gettext("--model is {model!r}; a {kind} model is one of {names}.")
    return text.format(model=model, kind=kind, names=", ".join(names))


class Retrain(Anonymous):
    """Train models before the cutoff and promote better ones.

    Without ``models``, trains all kinds that the data suffices for.
    """

    kind = "retrain"
    title = gettext("Retrain")
    queue = "training"
    deed = gettext("retrain models")
    models: tuple[Literal["churn", "recommend"], ...] = ()
    horizon: Days | None = None  # None: the installation's definition of churn
    active_within: DaysOrEver | Literal["definition"] = "definition"
    model: str = "auto"
    cutoff: Moment | None = None
    tune: Seconds | None = None
    tune_fits: Annotated[int, Field(ge=1, le=10_000)] | None = None
    epsilon: Annotated[float, Field(ge=0.1, le=10)] | None = None

    @property
    def kinds(self) -> tuple[str, ...]:
        """Return the kinds of models to train."""
        return self.models or ("churn", "recommend")

    def check_worker_limits(self, settings: "Settings") -> None:
        """Refuse a search beyond the CPU limit."""
        cpu, _ = training_seconds(settings)
        limit = cpu * TUNE_SHARE
        if self.tune and self.tune > limit:
            raise BadInput(
                gettext(
                    "--tune is {tune:g} minutes, and the limit is {limit}: a training job may "
                    "use {cpu_minutes} minutes of CPU time in all. Give --tune at most "
                    "{limit}m, or run `retention retrain` in a terminal without --queue, where "
                    "no limit applies."
                ).format(tune=self.tune / 60, limit=int(limit // 60), cpu_minutes=cpu // 60)
            )

    @model_validator(mode="after")
    def _check_model(self) -> Self:
        """Check that the model fits the kinds.

        ALS does not predict churn, and a support vector machine does not recommend.
        """
        for kind, names in (("churn", CHURN_MODELS), ("recommend", (*BLEND, *RECOMMENDERS))):
            if kind in self.kinds and self.model not in names:
                raise BadInput(_other_kind(self.model, kind, names))
        is_private = self.model == PRIVATE
        if is_private and self.epsilon is None:
            text = gettext("--epsilon is missing; a private model needs one, such as --epsilon 2.")
            raise BadInput(text, field="epsilon")
        if self.epsilon is not None and not is_private:
            text = gettext("--epsilon is {value:g}, which only --model private uses; leave it out.")
            raise BadInput(text.format(value=self.epsilon), field="epsilon")
        if is_private and (self.tune or self.tune_fits):
            text = gettext(
                "--tune tries settings on exact data; leave it out with --model private."
            )
            raise BadInput(text, field="tune")
        return self

    def check(self, session: "Transaction") -> None:
        """Say how to install what a private model needs, and refuse one beyond the budget."""
        super().check(session)
        if self.epsilon is not None:
            privacy_extra.require()
            ledger.check_budget(session, self.epsilon)


class Sweep(OfSome):
    """Find customers at risk, with reasons."""

    kind = "sweep"
    title = gettext("At-risk list")
    deed = gettext("list customers at risk")
    tier: Tier | None = None  # None: the list of the customers with most to lose, of any tier
    top: Annotated[int, Field(ge=1, le=100_000)] | None = None
    as_of: Moment | None = None
    by: str | None = None  # a field to break the result down by
    order: Literal["stake", "spend"] = "stake"  # what comes first
    with_lapsed: bool = False  # also return the list of lapsed customers


class Score(Request):
    """Show a customer's risk, reasons, value and recommendations."""

    kind = "score"
    title = gettext("Score")
    queue = "interactive"
    deed = gettext("score a customer")
    customer_id: CustomerId
    merged: CustomerId | None = None  # the requested id, if it was merged into this customer
    as_of: Moment | None = None
    explain: bool = False


class CustomerCard(Score):
    """Show a customer's card in an open modal."""

    kind = "customer_card"
    title = gettext("Customer card")
    deed = gettext("open a customer")
    view_id: Annotated[str, Field(min_length=1, max_length=64)]
    channel: str | None = None  # of the list that it was opened from


class CallWindow(Request):
    """Add the phone number and what to say to the open window of a call."""

    kind = "call_window"
    title = gettext("Call")
    queue = "interactive"
    deed = gettext("decide on a customer")
    campaign_id: str = ""
    customer_id: CustomerId
    view_id: Annotated[str, Field(min_length=1, max_length=64)]
    card: str = ""  # job of the card to update


class Recommend(Request):
    """Recommend items for one customer."""

    kind = "recommend"
    title = gettext("Recommend")
    queue = "interactive"
    deed = gettext("see recommendations")
    customer_id: CustomerId
    merged: CustomerId | None = None  # the requested id, if it was merged into this customer
    k: Annotated[int, Field(ge=1, le=100)] = 10
    policy: Literal["repeat", "new", "both"] | None = None  # None: that of the policy file
    as_of: Moment | None = None


class ModelCard(Request):
    """Make the model card: purpose, data, limits and contacts."""

    kind = "model_card"
    title = gettext("Model card")
    deed = gettext("make a model card")
    version: str | None = None

    def check(self, session: "Transaction") -> None:
        """Refuse an unknown version."""
        from retention import registry

        if self.version:
            registry.find(session, self.version)


class Cohort(Anonymous, OfSome):
    """Compute retention by month of the first purchase."""

    kind = "cohort"
    title = gettext("Cohort")
    deed = gettext("see how cohorts stay")
    months: Annotated[int, Field(ge=2, le=24)] = 12
    as_of: Moment | None = None


class Customers(OfSome):
    """Count customers and list the first of them."""

    kind = "customers"
    title = gettext("Customers")
    queue = "interactive"
    deed = gettext("see customers")
    order: Literal["spent", "orders", "newest"] = "spent"
    top: Annotated[int, Field(ge=1, le=24)] = 10  # more rows do not fit into a message
    as_of: Moment | None = None


class Sales(Anonymous, OfSome):
    """Sum up the orders of some days."""

    kind = "sales"
    title = gettext("Sales")
    queue = "interactive"
    deed = gettext("see sales")
    first: date
    last: date


class Voices(Request):
    """Report what customers wrote about."""

    kind = "voices"
    title = gettext("Voices")
    deed = gettext("see what customers write")
    since: Moment | None = None  # None: a week before

    def check(self, session: "Transaction") -> None:
        """Say how to install what it needs."""
        super().check(session)
        extra.require()


class CohortCsv(Request):
    """Send a cohort's customers as a file."""

    kind = "cohort_csv"
    title = gettext("List as a file")
    queue = "interactive"
    deed = gettext("download a cohort")
    cohort_id: str


class ReleaseCounts(Anonymous):
    """Release the sizes of the audiences with noise."""

    kind = "release_counts"
    title = gettext("Counts with noise")
    queue = "interactive"
    deed = gettext("release counts")

    def check(self, session: "Transaction") -> None:
        """Say how to install what it needs, and that there is no budget."""
        super().check(session)
        privacy_extra.require()
        if not ledger.is_on(session):
            text = gettext(
                "There is no privacy budget; ask an operator to set RETENTION_PRIVACY_BUDGET, such "
                "as 1."
            )
            raise Refused(text)


class Digest(OfSome):
    """Summarise the week, with charts."""

    kind = "digest"
    title = gettext("Digest")
    role = "viewer"
    deed = gettext("see the digest")
    as_of: Moment | None = None
    sections: tuple[DigestSection, ...] = get_args(DigestSection)  # in the digest's thread


class AudienceSave(Anonymous):
    """Count an audience's customers and save it. A preview only counts them."""

    kind = "audience_save"
    title = gettext("Audience")
    queue = "interactive"
    deed = gettext("save an audience")
    name: AudienceName
    expression: Annotated[str, Field(min_length=1, max_length=1_000)]
    exclude: bool = False
    preview: bool = False
    replace: bool = False  # another audience of this name


class AudienceShow(Anonymous):
    """Show an audience with its number of customers."""

    kind = "audience_show"
    title = gettext("Audience")
    queue = "interactive"
    deed = gettext("see audiences")
    name: AudienceName
    where: Condition | None = None  # an audience expression
    as_of: Moment | None = None


class PublishProfiles(Request):
    """Publish all scores and audiences for the read API and mail platforms."""

    kind = "publish_profiles"
    title = gettext("Publishing of scores")
    role = "admin"
    deed = gettext("publish scores")


class PlatformSync(Request):
    """Hand a publication over to a mail platform, and read back who left."""

    kind = "platform_sync"
    title = gettext("Mail platform")
    role = "admin"
    deed = gettext("hand over scores")
    names_customers = False
    connection_id: int
    snapshot_id: int


class DeleteProfile(Anonymous):
    """Have a mail platform delete the profiles of erased customers."""

    kind = "delete_profile"
    title = gettext("Mail platform")
    role = "admin"
    deed = gettext("delete profiles")
    deletion_id: int


class AlertCheck(Request):
    """Check all alerts."""

    kind = "alert_check"
    title = gettext("Alert check")
    deed = gettext("check alerts")


class AlertTest(Request):
    """Try an alert on the past 90 days."""

    kind = "alert_test"
    title = gettext("Alert test")
    deed = gettext("try an alert")
    names_customers = False
    name: AudienceName


class ImportFiles(Request):
    """Import files again, from a schedule of the terminal.

    Only a schedule makes it: a path never comes from Slack.
    """

    kind = "import_files"
    title = gettext("Import")
    role = "admin"
    deed = gettext("import files")
    names_customers = False
    table: ImportTable
    files: tuple[str, ...]
    map_path: str | None = None
    format_name: str | None = None
    query: str | None = None
    source: str | None = None


class SourcePull(Request):
    """Pull what is new from a source."""

    kind = "source_pull"
    title = gettext("Source")
    role = "admin"
    deed = gettext("pull sources")
    names_customers = False
    name: AudienceName
    scheduled: bool = False  # a scheduled pull only posts problems
    accept_shrunk: bool = False  # import although the source lost half of its rows


class FilePropose(Request):
    """Propose how a file of a direct message is imported."""

    kind = "file_propose"
    title = gettext("Dropped file")
    role = "admin"
    queue = "interactive"
    deed = gettext("import files")
    file_id: Annotated[str, Field(pattern=r"^F[A-Z0-9]{2,30}$")]
    name: Annotated[str, Field(min_length=1, max_length=255)]
    table: Literal["events", "customers", "items", "redemptions", "bounces", "lists"] | None = None

    @property
    def is_private(self) -> bool:
        """Return that the rows go to the person's direct message."""
        return True


class Voice(Request):
    """Find the words of a voice message. A person asks them by a button."""

    kind = "voice"
    title = gettext("Voice message")
    role = "viewer"
    queue = "interactive"
    deed = gettext("ask")
    file_id: Annotated[str, Field(pattern=r"^F[A-Z0-9]{2,30}$")]
    name: Annotated[str, Field(min_length=1, max_length=255)]
    place: Annotated[str, Field(min_length=1, max_length=40)]  # the channel
    root: Annotated[str, Field(max_length=40)]  # the first message of its thread

    @property
    def is_private(self) -> bool:
        """Return that the words stay in the person's direct message."""
        return True


class FileImport(Request):
    """Import a file as it was proposed."""

    kind = "file_import"
    title = gettext("Import")
    role = "admin"
    deed = gettext("import files")
    names_customers = False
    proposal: Annotated[str, Field(min_length=1, max_length=32)]


class Monitor(Anonymous):
    """Check the champion churn model."""

    kind = "monitor"
    title = gettext("Monitor")
    deed = gettext("look at the models")
    scheduled: bool = False  # a scheduled check only posts warnings


class DataQuality(Request):
    """Report the lake's contents, their quality and possible improvements."""

    kind = "data_quality"
    title = gettext("Data quality")
    deed = gettext("see how good the data is")


class Pictures(Request):
    """Look at the pictures of products that are new or could not be used before."""

    kind = "pictures"
    title = gettext("Pictures")
    queue = "training"
    deed = gettext("look at pictures of products")
    names_customers = False
    outlasts_erasures = True

    def check(self, session: "Transaction") -> None:
        """Say how to switch pictures on, and how to install what they need."""
        super().check(session)
        pictures_extra.require_setting(session.settings)
        pictures_extra.require()


class RecommendReport(Anonymous):
    """Report click and purchase rates of recommendations.

    The rates are by place on the list, reason, model and time.
    """

    kind = "recommend_report"
    title = gettext("Recommend report")
    role = "viewer"
    deed = gettext("see how recommendations do")
    days: Days = 84
    as_of: Moment | None = None


class ProgrammeReport(Anonymous):
    """Report what all campaigns together earn, against the programme's hold-out."""

    kind = "programme_report"
    title = gettext("Programme report")
    role = "viewer"
    deed = gettext("see what the campaigns earn")

    def check(self, session: "Transaction") -> None:
        """Say how to switch the hold-out on, if there is none."""
        from retention.campaigns.planning.programme_holdout import require_holdout

        require_holdout(session, load_policy(session.settings))


class PromisesReport(Request):
    """Compare the forecasts of all measured campaigns with their results."""

    kind = "promises_report"
    title = gettext("Promises report")
    role = "viewer"
    deed = gettext("see whether campaigns keep their promises")
    names_customers = False
    outlasts_erasures = True


class DemoFeed(Anonymous):
    """Import the demo's events and responses; without ``until`` its history, once."""

    kind = "demo_feed"
    title = gettext("Demo feed")
    role = "admin"
    deed = gettext("feed the demo")
    until: Moment | None = None


class Forget(Request):
    """Erase a customer everywhere, permanently."""

    kind = "forget"
    title = gettext("Forget")
    role = "admin"
    deed = gettext("erase a customer")
    outlasts_erasures = True
    customer_id: CustomerId
    more_ids: tuple[CustomerId, ...] = ()  # of other customers, when a shop erases all of them


class Why(Request):
    """Say what was decided about a customer, and why."""

    kind = "why"
    title = gettext("Why this customer")
    role = "admin"
    deed = gettext("see what was decided about a customer")
    customer_id: CustomerId
    merged: CustomerId | None = None


class ShopInbox(Request):
    """Import the webhooks of connected shops."""

    kind = "shop_inbox"
    title = gettext("Webhooks of the shop")
    role = "admin"
    deed = gettext("import webhooks")
    names_customers = False


class Tidy(Request):
    """Clean up and compact the lake."""

    kind = "tidy"
    title = gettext("Tidy")
    role = "admin"
    deed = gettext("tidy the lake")
    names_customers = False
    outlasts_erasures = True


REQUESTS: dict[str, type[Request]] = {request.kind: request for request in all_requests()}


def title_of(kind: str) -> str:
    """Return the readable name of a kind of job."""
    request = REQUESTS.get(kind)
    # During an upgrade a newer version may have stored a kind that this one does not know.
    return in_language(request.title) if request else kind
