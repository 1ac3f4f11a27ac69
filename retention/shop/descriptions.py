"""Descriptions of a shop's customers: cohorts and RFM."""

from datetime import datetime
from typing import TYPE_CHECKING

import pandas as pd

from retention.churn.population import buyers
from retention.reports.cohorts import cohorts
from retention.risk.rules import quintile
from retention.shop import plots
from retention.shop.data import Moment, ShopData, check_count
from retention.window import Window

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class Descriptions:
    """Tables and plots that describe a shop's customers; `Shop` has them.

    Parameters
    ----------
    data : ShopData
    """

    def __init__(self, data: ShopData) -> None:
        self._data = data

    def _as_of(self, as_of: Moment) -> datetime:
        moment = self._data.moment("as_of", as_of)
        return self._data.lake.as_of(moment, self._data.definition.horizon_days).at

    def cohorts(self, months: int = 12, *, as_of: Moment = None) -> "pd.DataFrame":
        """Count which share of a month's new customers order again in later months.

        Parameters
        ----------
        months : int
            Largest number of cohorts, and of months that each is followed.
        as_of : datetime, date or str, optional
            As for `score`.

        Returns
        -------
        pandas.DataFrame
            A row per month, with ``customers`` and a column per month later: 0, 1, 2 …

        Raises
        ------
        BadInput
            If ``months`` is below 1.
        TooLittleData
            With fewer than two whole months of orders.

        Examples
        --------
        >>> import retention
        >>> shop = retention.Shop.from_frames(retention.sample_orders(), verbose=False)
        >>> shop.cohorts(months=3).columns.tolist()
        ['customers', 0, 1, 2]
        """
        check_count("months", months)
        at = self._as_of(as_of)
        listed = cohorts(self._data.lake, at, months).cohorts
        table = pd.DataFrame(
            [each.retained for each in listed],
            index=pd.Index([each.month for each in listed], name="month"),
        )
        table.insert(0, "customers", [each.customers for each in listed])
        return table

    def plot_cohorts(self, ax: "Axes | None" = None, *, months: int = 12) -> "Axes":
        """Plot `cohorts`; see `retention.plot_cohorts`.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            By default those of a new figure.
        months : int

        Returns
        -------
        matplotlib Axes

        Raises
        ------
        BadInput, TooLittleData
            As for `cohorts`.

        Examples
        --------
        >>> import retention
        >>> shop = retention.Shop.from_frames(retention.sample_orders(), verbose=False)
        >>> shop.plot_cohorts().get_ylabel()
        'share that orders'
        """
        return plots.plot_cohorts(self.cohorts(months), ax=ax)

    def rfm(self, *, as_of: Moment = None) -> "pd.DataFrame":
        """Return recency, frequency and monetary value of every customer with an order.

        Parameters
        ----------
        as_of : datetime, date or str, optional
            As for `score`.

        Returns
        -------
        pandas.DataFrame
            A row per customer: customer_id, recency_days, orders, amount (spent in all), and the
            quintiles r, f and m, where 5 is the most recent, the most orders and the most spent.

        Raises
        ------
        TooLittleData
            Without orders.

        Examples
        --------
        >>> import retention
        >>> shop = retention.Shop.from_frames(retention.sample_orders(), verbose=False)
        >>> shop.rfm().columns.tolist()
        ['customer_id', 'recency_days', 'orders', 'amount', 'r', 'f', 'm']
        """
        at = self._as_of(as_of)
        frame = buyers(
            self._data.lake, at, window=Window(self._data.definition.horizon_days, None)
        ).frame
        table = frame[["customer_id", "recency_days", "orders_all", "spend_all"]].set_axis(
            ["customer_id", "recency_days", "orders", "amount"], axis=1
        )
        recency, amount = table["recency_days"], table["amount"].fillna(0.0)
        table = table.assign(
            orders=table["orders"].astype(int),
            r=6 - quintile(recency, recency).astype(int),
            f=quintile(table["orders"], table["orders"]).astype(int),
            m=quintile(amount, amount).astype(int),
        )
        table["customer_id"] = self._data.own_ids(table["customer_id"])
        return table.reset_index(drop=True)

    def plot_rfm(self, ax: "Axes | None" = None) -> "Axes":
        """Plot `rfm`; see `retention.plot_rfm`.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            By default those of a new figure.

        Returns
        -------
        matplotlib Axes

        Raises
        ------
        TooLittleData
            Without orders.

        Examples
        --------
        >>> import retention
        >>> shop = retention.Shop.from_frames(retention.sample_orders(), verbose=False)
        >>> shop.plot_rfm().get_xlabel()
        'recency (5: most recent)'
        """
        return plots.plot_rfm(self.rfm(), ax=ax)
