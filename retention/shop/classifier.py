"""A churn classifier with scikit-learn's interface."""

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from retention.churn.evaluation.uncertainty import log_losses
from retention.churn.score import probabilities
from retention.churn.snapshots import take_snapshot
from retention.errors import BadInput, TooLittleData
from retention.lake.coverage import latest_cutoff
from retention.shop.shop import Shop
from retention.text import gettext

if TYPE_CHECKING:
    from retention.shop.churn import ChurnModel


class ChurnClassifier(ClassifierMixin, BaseEstimator):
    """Predict which customers will not order again within the horizon.

    It is a scikit-learn estimator, but ``X`` is a table of orders with one row per order line, and
    a prediction has one row per customer. The labels come from the orders themselves: `fit` takes
    snapshots in the past and looks who ordered in the horizon after each. So there is no ``y``, and
    folds are made of customers, with ``groups=orders.customer_id`` and a ``GroupKFold``.
    `Shop.evaluate_churn` splits by time.

    Parameters
    ----------
    horizon : int, optional
        A customer churns without an order in this many days. By default it follows from the gaps
        between the orders.
    active_within : int or "ever", optional
        Days in which a customer must have ordered to be learned from. By default it follows from
        the horizon.
    model : str
        ``auto`` selects by the amount of data; or logistic, tree, forest, svm, neural, boosting or
        ensemble.
    columns : mapping, optional
        Names of the columns of ``X``, as for `Shop.from_frames`. The others are guessed.
    timezone : str, optional
        The shop's time zone, as for `Shop.from_frames`.

    Attributes
    ----------
    classes_ : ndarray of shape (2,)
        0 stays, 1 churns.
    model_ : ChurnModel
        For `Shop.score`.
    horizon_days_ : int
        The horizon that was used.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Columns of ``X`` in `fit`.
    n_features_in_ : int

    Raises
    ------
    BadInput
        If ``X`` is no table of orders.
    TooLittleData
        By `fit`, with too few customers, or if all did the same.

    Examples
    --------
    >>> import retention
    >>> orders = retention.sample_orders()
    >>> classifier = retention.ChurnClassifier().fit(orders)
    >>> classifier.predict_proba(orders).shape == (orders.customer_id.nunique(), 2)
    True
    """

    def __init__(
        self,
        horizon: int | None = None,
        active_within: int | Literal["ever"] | None = None,
        model: str = "auto",
        columns: dict[str, str] | None = None,
        timezone: str | None = None,
    ) -> None:
        self.horizon = horizon
        self.active_within = active_within
        self.model = model
        self.columns = columns
        self.timezone = timezone

    def fit(self, X: Any, y: Any = None) -> "ChurnClassifier":
        """Learn from all orders.

        Parameters
        ----------
        X : DataFrame, Arrow table or path
            A row per order line, as for `Shop.from_frames`.
        y : None
            Must be left out.

        Returns
        -------
        ChurnClassifier
            Itself.

        Raises
        ------
        BadInput
            If ``X`` is no table of orders, a parameter is unusable, or there is a ``y``.
        TooLittleData
            With too few customers, or if all did the same.
        """
        if y is not None:
            message = gettext(
                "y has values, but who churns follows from the orders in X; leave y out. "
                "A search or a cross-validation takes groups=orders.customer_id and "
                "cv=GroupKFold(), and no scoring."
            )
            raise BadInput(message, field="y")
        with self._shop(X) as shop:
            self.model_: ChurnModel = shop.train_churn(model=self.model)
            self.horizon_days_ = shop.horizon_days
        self.classes_ = np.array([0, 1])
        names = _column_names(X)
        self.n_features_in_ = len(names)
        self.feature_names_in_ = np.array(names, dtype=object)
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the probabilities to stay and to churn, one row per customer.

        The moment of the prediction is the end of the orders in ``X``. Customers come in the order
        of `customers`.

        Parameters
        ----------
        X : DataFrame, Arrow table or path
            As in `fit`.

        Returns
        -------
        ndarray of shape (n_customers, 2)

        Raises
        ------
        NotFittedError
            Before `fit`.
        BadInput
            If ``X`` is no table of orders.
        """
        check_is_fitted(self)
        with self._shop(X) as shop:
            churn = probabilities(self.model_.trained, shop._data.lake, shop._data.end)
            listed = shop._data.customers()
        chance = np.array([churn[customer] for customer in listed])
        return np.column_stack([1 - chance, chance])

    def predict(self, X: Any) -> np.ndarray:
        """Return 1 for customers that will more likely churn than not, else 0.

        Parameters
        ----------
        X : DataFrame, Arrow table or path
            As in `fit`.

        Returns
        -------
        ndarray of shape (n_customers,)

        Raises
        ------
        NotFittedError
            Before `fit`.
        BadInput
            If ``X`` is no table of orders.
        """
        probability = self.predict_proba(X)
        return self.classes_[probability.argmax(axis=1)]

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Return the negative log-loss at the last moment of ``X`` whose horizon is over.

        Only the active customers count, as in `fit`. Higher is better.

        Parameters
        ----------
        X : DataFrame, Arrow table or path
            As in `fit`, of other customers.
        y, sample_weight : ignored

        Returns
        -------
        float

        Raises
        ------
        NotFittedError
            Before `fit`.
        BadInput
            If ``X`` is no table of orders, or is not longer than the horizon.
        TooLittleData
            Without active customers.
        """
        check_is_fitted(self)
        trained = self.model_.trained
        with self._shop(X) as shop:
            lake = shop._data.lake
            cutoff = latest_cutoff(lake, trained.horizon_days)
            test = take_snapshot(lake, cutoff, trained.window)
            if not len(test.frame):
                message = gettext(
                    "Nobody in X was active {days} days before its end, so there is nothing "
                    "to score; take folds of customers: groups=orders.customer_id and "
                    "cv=GroupKFold()."
                )
                raise TooLittleData(message.format(days=trained.horizon_days))
            return -float(log_losses(test.labels, trained.predict(test)).mean())

    def customers(self, X: Any) -> np.ndarray:
        """Return the customers of ``X`` in the order of the predictions: by first order, then id.

        Parameters
        ----------
        X : DataFrame, Arrow table or path
            As in `fit`.

        Returns
        -------
        ndarray of shape (n_customers,)

        Raises
        ------
        BadInput
            If ``X`` is no table of orders.

        Examples
        --------
        >>> import retention
        >>> orders = retention.sample_orders(customers=4)
        >>> retention.ChurnClassifier().customers(orders).shape
        (4,)
        """
        with self._shop(X) as shop:
            return shop._data.own_ids(pd.Series(shop._data.customers(), dtype="str")).to_numpy()

    def _shop(self, X: Any) -> Shop:
        if isinstance(X, np.ndarray):
            message = gettext(
                "X is an array without column names; give a table of orders, such as a pandas "
                "DataFrame."
            )
            raise BadInput(message, field="X")
        return Shop.from_frames(
            X,
            columns=self.columns,
            horizon=self.horizon,
            active_within=self.active_within,
            timezone=self.timezone,
            verbose=False,
        )

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        # X is a table of orders with texts and times, and a prediction has a row per customer.
        tags.input_tags.two_d_array = False
        tags.input_tags.string = True
        tags.input_tags.categorical = True
        tags.input_tags.allow_nan = True
        tags.target_tags.required = False
        tags.classifier_tags.multi_class = False
        tags.no_validation = True
        return tags


def _column_names(X: Any) -> list[str]:
    """Return the column names of a table; none of a file's."""
    names = getattr(X, "column_names", None) or getattr(X, "columns", None)
    return [] if names is None else [str(name) for name in names]
