"""A shop's customers, models and lists, for use from Python."""

import weakref
from collections.abc import Iterable, Mapping
from datetime import datetime
from html import escape
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from retention.churn.evaluation.evaluate import Plan, evaluate
from retention.churn.model import train
from retention.errors import BadInput
from retention.lake import coverage
from retention.recommend import train as train_recommender
from retention.recommend.reranking import Terms
from retention.recommend.serving import recommend
from retention.registry import champion
from retention.registry.model_cache import churn_model, open_recommender
from retention.risk.policy import thresholds
from retention.risk.sentence import sentence
from retention.risk.sweep import Sweep, sweep
from retention.shop.churn import ChurnModel, ChurnReport, check_estimator
from retention.shop.data import Moment, ShopData, check_count
from retention.shop.descriptions import Descriptions
from retention.shop.tables import ColumnChoice
from retention.templating import churn as churn_sentence
from retention.text import gettext

if TYPE_CHECKING:
    from retention.recommend import TrainedRecommender

RECOMMEND_HORIZON = 28  # days, as in the commands
SCORES = (
    *("customer_id", "churn_probability", "tier", "expected_value", "at_stake"),
    *("next_order_at", "reasons"),
)


class Shop(Descriptions):
    """A shop's orders, with the models that learn from them.

    Make one with `Shop.from_frames` or `Shop.open`. A shop made from frames keeps its data in a
    temporary folder, which is deleted with the shop. It is also a context manager.

    Attributes
    ----------
    columns : tuple of ColumnChoice
        Which column was read as what, one table each; empty for `Shop.open`.
    horizon_days : int
        A customer churns without an order in this many days.
    active_within_days : int or None
        Only customers with an order in this time can churn. None: all customers.

    Raises
    ------
    BadInput
        By all methods, for a value that cannot be used.
    TooLittleData
        By methods that learn or list, if there are too few orders or customers.

    Examples
    --------
    >>> import retention
    >>> shop = retention.Shop.from_frames(retention.sample_orders(), verbose=False)
    >>> shop.horizon_days
    28
    >>> at_risk = shop.score(shop.train_churn())
    >>> at_risk.columns.tolist()[:3]
    ['customer_id', 'churn_probability', 'tier']
    """

    def __init__(self, data: ShopData) -> None:
        super().__init__(data)
        self._model: ChurnModel | None = None
        self._recommenders: dict[datetime, TrainedRecommender | None] = {}
        self._close = weakref.finalize(self, data.close)

    # ------------------------------------------------------------ making one

    @classmethod
    def from_frames(
        cls,
        orders: Any,
        customers: Any = None,
        items: Any = None,
        *,
        customer_id: str | None = None,
        occurred_at: str | None = None,
        order_id: str | None = None,
        item_id: str | None = None,
        quantity: str | None = None,
        amount: str | None = None,
        event_type: str | None = None,
        currency: str | None = None,
        columns: Mapping[str, str] | None = None,
        horizon: int | None = None,
        active_within: int | Literal["ever"] | None = None,
        timezone: str | None = None,
        verbose: bool = True,
    ) -> "Shop":
        """Make a shop from tables of orders, customers and items.

        Parameters
        ----------
        orders : DataFrame, Arrow table, path or list of paths
            One row per order line, or per order. pandas, polars and everything with the Arrow
            PyCapsule interface will do, and so will CSV, Parquet, JSON Lines and Excel files.
        customers, items : DataFrame, Arrow table, path or list of paths, optional
            One row each. Customers may have e-mail, name and attributes, items title, category,
            brand and price.
        customer_id, occurred_at, order_id, item_id, quantity, amount, event_type, currency : str
            Names of the columns of ``orders``. Those that are not named are guessed from names and
            contents. ``amount`` is the total of a line.
        columns : mapping, optional
            The same as a mapping, also for further columns such as ``price`` (of one piece),
            ``discount``, ``channel`` or ``rating``.
        horizon : int, optional
            A customer churns without an order in this many days. By default it follows from the
            gaps between the shop's orders.
        active_within : int or "ever", optional
            Days in which a customer must have ordered to count as active. By default it follows
            from the horizon.
        timezone : str, optional
            The shop's IANA time zone, for times that name none. By default RETENTION_TIMEZONE, or
            that of the orders' country, or UTC.
        verbose : bool
            Print the guessed columns.

        Returns
        -------
        Shop

        Raises
        ------
        BadInput
            If a named column does not exist, a column for the customer or the time is neither
            named nor found, a value of a parameter is unusable, or no row can be used.

        Examples
        --------
        >>> import pandas as pd
        >>> import retention
        >>> orders = pd.DataFrame(
        ...     {"who": ["ann", "bob", "ann"], "day": ["2025-01-02", "2025-01-03", "2025-02-01"]}
        ... )
        >>> shop = retention.Shop.from_frames(
        ...     orders, customer_id="who", occurred_at="day", verbose=False
        ... )
        >>> print(str(shop).splitlines()[0])
        2 customers, 3 orders, 2 Jan 2025 to 1 Feb 2025
        """
        given = {
            "customer_id": customer_id,
            "occurred_at": occurred_at,
            "order_id": order_id,
            "item_id": item_id,
            "quantity": quantity,
            "amount": amount,
            "event_type": event_type,
            "currency": currency,
        }
        named = {target: name for target, name in given.items() if name is not None}
        tables = {"events": orders, "customers": customers, "items": items}
        data = ShopData.from_frames(
            tables,
            {**named, **(columns or {})},
            horizon=horizon,
            active_within=active_within,
            timezone=timezone,
        )
        shop = cls(data)
        if verbose:
            for each in shop.columns:
                if each.guessed:
                    print(each, end="\n\n")
            print(shop)
        return shop

    @classmethod
    def open(cls, home: str | PathLike[str] | None = None) -> "Shop":
        """Open the shop of an installation, as the commands do.

        The churn definition and the policy are the installation's. Business time follows the
        installation's clock from then on.

        Parameters
        ----------
        home : path, optional
            Folder of the installation; by default RETENTION_HOME.

        Returns
        -------
        Shop

        Raises
        ------
        BadInput
            If there is no installation in the folder.

        Examples
        --------
        >>> import retention
        >>> retention.Shop.open("/nowhere")
        Traceback (most recent call last):
        retention.errors.BadInput: There is no installation in /nowhere; `retention init` makes one.
        """
        return cls(ShopData.of_installation(None if home is None else Path(home)))

    def close(self) -> None:
        """Close the shop and delete its temporary data.

        A shop that is no longer used is closed by itself.

        Examples
        --------
        >>> import retention
        >>> with retention.Shop.from_frames(retention.sample_orders(), verbose=False) as shop:
        ...     print(shop.active_within_days)
        56
        """
        self._close()

    def __enter__(self) -> "Shop":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ------------------------------------------------------------ showing it

    @property
    def columns(self) -> tuple[ColumnChoice, ...]:
        """Which column was read as what, a table each; empty for `Shop.open`."""
        return self._data.columns

    @property
    def horizon_days(self) -> int:
        """A customer churns without an order in this many days."""
        return self._data.definition.horizon_days

    @property
    def active_within_days(self) -> int | None:
        """Days in which a customer must have ordered to count as active; None: ever."""
        return self._data.definition.active_within_days

    def _lines(self) -> list[str]:
        summary = self._data.summary
        home = gettext("Installation in {home}").format(home=self._data.settings.home)
        lines = [summary.text if summary else home]
        if summary:
            report = summary.report
            if report.rows_duplicate:
                line = gettext("{rows:,} rows are equal to another and count once.")
                lines.append(line.format(rows=report.rows_duplicate))
            lines += [
                gettext("{rows:,} rows cannot be used: {reason}").format(rows=rows, reason=reason)
                for reason, rows in report.quarantine_text.items()
            ]
        definition = churn_sentence(self._data.definition.as_dict())
        lines.append(gettext("Churn: {definition}.").format(definition=definition.rstrip(".")))
        return lines

    def __str__(self) -> str:
        return "\n".join(self._lines())

    __repr__ = __str__

    def _repr_html_(self) -> str:
        lines = "<br>".join(map(escape, self._lines()))
        return f"<p>{lines}</p>" + "".join(each._repr_html_() for each in self.columns)

    # ------------------------------------------------------------ churn

    def evaluate_churn(
        self, cutoff: Moment = None, *, horizon: int | None = None, model: str = "auto"
    ) -> ChurnReport:
        """Train before a cutoff, and compare with who really came back after it.

        Parameters
        ----------
        cutoff : datetime, date or str, optional
            By default the latest midnight whose horizon is over in the data.
        horizon : int, optional
            In days; by default the shop's.
        model : str
            ``auto``, logistic, tree, forest, svm, neural, boosting or ensemble.

        Returns
        -------
        ChurnReport
            The model's metrics next to its baselines. Printing it shows a table.

        Raises
        ------
        BadInput
            If the window after the cutoff is not over, or the horizon is too long for the history.
        TooLittleData
            With too few customers, or if all did the same.

        Examples
        --------
        >>> import retention
        >>> shop = retention.Shop.from_frames(retention.sample_orders(), verbose=False)
        >>> report = shop.evaluate_churn()
        >>> report.to_frame().index.tolist()
        ['model', 'recency', 'rfm_logistic', 'bg_nbd']
        """
        definition = self._data.defined(horizon)
        champion = self._model or self._champion
        tiers = thresholds(self._data.policy, champion.trained if champion else None)
        at = self._data.moment("cutoff", cutoff)
        if at is None:
            at = coverage.latest_cutoff(self._data.lake, definition.horizon_days)
        plan = Plan(
            cutoff=at,
            window=definition.window,
            model=check_estimator(model),
            tiers=(tiers.high, tiers.medium),
        )
        data, evaluation = evaluate(self._data.lake, plan)
        return ChurnReport(data, evaluation, self._data.settings.timezone)

    def train_churn(
        self, *, cutoff: Moment = None, horizon: int | None = None, model: str = "auto"
    ) -> ChurnModel:
        """Train a churn model on all data before a cutoff.

        The model is not stored in an installation; `retention retrain` does that.

        Parameters
        ----------
        cutoff : datetime, date or str, optional
            By default the end of the data.
        horizon : int, optional
            In days; by default the shop's.
        model : str
            ``auto`` selects by the amount of data; or logistic, tree, forest, svm, neural,
            boosting or ensemble.

        Returns
        -------
        ChurnModel

        Raises
        ------
        BadInput
            If the horizon is too long for the history.
        TooLittleData
            With too few customers, or if all did the same.

        Examples
        --------
        >>> import retention
        >>> shop = retention.Shop.from_frames(retention.sample_orders(), verbose=False)
        >>> shop.train_churn().horizon_days
        28
        """
        definition = self._data.defined(horizon)
        at = self._data.moment("cutoff", cutoff)
        trained = train(
            self._data.lake,
            cutoff=self._data.end if at is None else at,
            window=definition.window,
            model=check_estimator(model),
            customers=self._data.policy.list.customers,
        )
        self._model = ChurnModel(trained, self._data.settings.timezone)
        return self._model

    def score(self, model: ChurnModel | None = None, as_of: Moment = None) -> "pd.DataFrame":
        """List the active customers, those with most at stake first.

        Parameters
        ----------
        model : ChurnModel, optional
            By default the last one that `train_churn` returned, or else the installation's. Without
            any, customers are ranked by recency and frequency, and ``churn_probability`` is only a
            rank. ``attrs["model"]`` then says "rules".
        as_of : datetime, date or str, optional
            Later orders are not read. By default now, or the day after the last order of old data.

        Returns
        -------
        pandas.DataFrame
            A row per customer: customer_id, churn_probability, tier (high, medium, low),
            expected_value (spend within one horizon if the customer stays), at_stake (probability
            × value), next_order_at (expected, in the shop's time zone) and reasons. ``attrs`` has
            as_of, model, note and currency.

        Raises
        ------
        BadInput
            If amounts are in several currencies, or the model is none.
        TooLittleData
            If no customer was active.

        Examples
        --------
        >>> import retention
        >>> shop = retention.Shop.from_frames(retention.sample_orders(), verbose=False)
        >>> at_risk = shop.score(shop.train_churn())
        >>> print(at_risk.reasons[0])  # doctest: +ELLIPSIS
        Silent for ...
        """
        swept = self._sweep(model, as_of)
        currency = self._data.lake.currency(self._data.settings)
        table = swept.cohort.assign(
            at_stake=swept.cohort.churn_probability * swept.cohort.expected_value,
            next_order_at=swept.cohort.next_order_at.dt.tz_convert(self._data.settings.timezone),
            reasons=_sentences(swept),
        ).sort_values(["at_stake", "churn_probability"], ascending=False, ignore_index=True)
        table = table[list(SCORES)]
        table["customer_id"] = self._data.own_ids(table["customer_id"])
        table.attrs = {
            "as_of": self._data.lake.local(swept.as_of).isoformat(),
            "model": swept.model_version or "churn",
            "note": swept.note,
            "currency": currency,
        }
        return table

    def _sweep(self, model: ChurnModel | None, as_of: Moment) -> Sweep:
        if model is not None and not isinstance(model, ChurnModel):
            message = gettext("model is a {type}; give what Shop.train_churn returns.")
            raise BadInput(message.format(type=type(model).__name__), field="model")
        model = model or self._model or self._champion
        return sweep(
            self._data.lake,
            model.trained if model else None,
            self._data.policy,
            as_of=self._data.moment("as_of", as_of),
            tier="low",  # all of them
            window=self._data.definition.window,
        )

    # ------------------------------------------------------------ recommendations

    def recommend(
        self, customers: "Iterable[Any] | str", k: int = 10, *, as_of: Moment = None
    ) -> "pd.DataFrame":
        """Recommend items to customers.

        The first call trains a recommender. An installation uses its own as the commands do, and
        without one it recommends own purchases and popular items. Customers without orders get
        popular items.

        Parameters
        ----------
        customers : iterable of customer ids, or one of them
        k : int
            Items per customer; fewer only if the shop has fewer.
        as_of : datetime, date or str, optional
            Later orders are not read. By default now, or the day after the last order of old data.

        Returns
        -------
        pandas.DataFrame
            A row per customer and item, best first: customer_id, rank, item_id, title, score,
            source and why.

        Raises
        ------
        BadInput
            If ``k`` is below 1.
        TooLittleData
            If the orders name no items.

        Examples
        --------
        >>> import retention
        >>> shop = retention.Shop.from_frames(retention.sample_orders(), verbose=False)
        >>> shop.recommend("c0001", k=2)["rank"].tolist()
        [1, 2]
        """
        check_count("k", k)
        given = [customers] if isinstance(customers, str | int) else list(customers)
        asked = list(dict.fromkeys(map(_id_text, given)))
        requested = self._data.moment("as_of", as_of)
        if self._data.database is not None:
            with self._data.database.reading() as session:
                active = open_recommender(self._data.lake, session, self._data.policy)
            trained, terms = active.trained, active.terms
        else:
            policy = self._data.policy
            trained, terms = None, Terms(policy.recommend, policy.offer.margin)
        horizon = trained.horizon_days if trained else RECOMMEND_HORIZON
        at = self._data.lake.as_of(requested, horizon).at
        if self._data.database is None:
            trained = self._recommender(at)
        lists = recommend(trained, self._data.lake, asked, k=k, as_of=at, terms=terms)
        rows = [
            {"customer_id": customer, "rank": rank, **item.as_dict()}
            for customer in asked
            for rank, item in enumerate(lists[customer], start=1)
        ]
        columns = ["customer_id", "rank", "item_id", "title", "score", "source", "why"]
        table = pd.DataFrame(rows, columns=columns)
        table["customer_id"] = self._data.own_ids(table["customer_id"])
        return table

    def _recommender(self, at: datetime) -> "TrainedRecommender | None":
        """Return the recommender of a moment; None if the data has too few customers for one."""
        cutoff = coverage.training_cutoff(self._data.lake, at)
        if cutoff not in self._recommenders:
            self._recommenders[cutoff] = train_recommender(
                self._data.lake, cutoff=cutoff, horizon_days=RECOMMEND_HORIZON
            )
        return self._recommenders[cutoff]

    @property
    def _champion(self) -> ChurnModel | None:
        """The installation's churn model in use."""
        if self._data.database is None:
            return None

        settings = self._data.settings
        with self._data.database.reading() as session:
            row = champion(session, "churn")
        return ChurnModel(churn_model(settings, row), settings.timezone) if row else None


def _sentences(swept: Sweep) -> list[str]:
    """Return each customer's reasons in one sentence."""
    evidence = swept.evidence_table
    if evidence is None:
        return [""] * len(swept.cohort)
    known = evidence.of(list(swept.cohort.customer_id))
    return [
        sentence(known[customer].clauses, tier)
        for customer, tier in zip(swept.cohort.customer_id, swept.cohort.tier, strict=True)
    ]


def _id_text(customer: Any) -> str:
    """Return a customer id as text: pandas stores whole numbers with gaps as floats."""
    if isinstance(customer, float) and customer.is_integer():
        return str(int(customer))
    return str(customer)
