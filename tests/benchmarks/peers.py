"""The same eighteen features in polars and in vectorised pandas, from the same files.

Ours are measured against these.
"""

from datetime import datetime, timedelta

CORE = (
    "recency_days",
    "tenure_days",
    "orders_half",
    "orders_1h",
    "orders_2h",
    "orders_4h",
    "orders_all",
    "gap_mean",
    "gap_median",
    "gap_sd",
    "gap_max",
    "recency_over_gap",
    "trend_orders",
    "spend_1h",
    "spend_4h",
    "spend_all",
    "discount_share",
    "items_4h",
)
READ = (
    "customer_id",
    "event_type",
    "occurred_at",
    "available_at",
    "item_id",
    "order_id",
    "amount",
    "discount",
)
DAY = 86_400


def in_polars(files: list[str], cutoff: datetime, h: float, active: float):
    """A polars frame: customer_id and `CORE`."""
    import polars as pl

    when = pl.col("occurred_at")
    known = pl.col("available_at").is_null() | (pl.col("available_at") < cutoff)
    bought = (
        pl.scan_parquet(files, hive_partitioning=False)
        .filter((pl.col("event_type") == "purchase") & (when < cutoff) & known)
        .select("customer_id", "order_id", "item_id", "amount", "discount", "occurred_at")
    )
    visits = (
        bought.with_columns(visit=pl.coalesce("order_id", when.dt.date().cast(pl.String)))
        .group_by("customer_id", "visit")
        .agg(when.min(), spend=pl.col("amount").sum(), discount=pl.col("discount").sum())
        .with_columns(second=when.dt.epoch("s"))
        .with_columns(
            age=(int(cutoff.timestamp()) - pl.col("second")) / DAY, day=pl.col("second") // DAY
        )
        .sort("customer_id", "second")
        .with_columns(gap=pl.col("day").diff().over("customer_id"))
        .with_columns(gap=pl.when(pl.col("gap") > 0).then(pl.col("gap")))
    )
    age, spend, gap = pl.col("age"), pl.col("spend"), pl.col("gap")
    customers = visits.group_by("customer_id").agg(
        recency_days=age.min(),
        tenure_days=age.max(),
        orders_half=(age <= h / 2).sum(),
        orders_1h=(age <= h).sum(),
        orders_2h=(age <= 2 * h).sum(),
        orders_4h=(age <= 4 * h).sum(),
        orders_all=pl.len(),
        gap_mean=gap.mean(),
        gap_median=gap.median(),
        gap_sd=gap.std(),
        gap_max=gap.max(),
        spend_1h=spend.filter(age <= h).sum(),
        spend_4h=spend.filter(age <= 4 * h).sum(),
        spend_all=spend.sum(),
        off=pl.col("discount").filter(age <= 4 * h).sum(),
    )
    recent = bought.filter(when >= cutoff - timedelta(days=4 * h))
    breadth = recent.group_by("customer_id").agg(items_4h=pl.col("item_id").drop_nulls().n_unique())
    before = pl.col("orders_2h").cast(pl.Float64) - pl.col("orders_1h")
    whole = pl.col("spend_4h") + pl.col("off")
    return (
        customers.filter(pl.col("recency_days") <= active)
        .join(breadth, on="customer_id", how="left")
        .with_columns(
            recency_over_gap=pl.col("recency_days") / pl.col("gap_median"),
            trend_orders=(pl.col("orders_1h") - before) / (pl.col("orders_1h") + before + 1),
            discount_share=pl.when(whole != 0).then(pl.col("off") / whole).otherwise(0.0),
            items_4h=pl.col("items_4h").fill_null(0),
        )
        .select("customer_id", *(pl.col(name).cast(pl.Float64) for name in CORE))
        .collect()
    )


def in_pandas(files: list[str], cutoff: datetime, h: float, active: float):
    """A pandas frame: customer_id and `CORE`. No loop over rows or customers."""
    import pandas as pd
    import pyarrow.dataset as ds

    read = ds.dataset(files, format="parquet").to_table(columns=list(READ)).to_pandas()
    known = read.available_at.isna() | (read.available_at < cutoff)
    read = read[(read.event_type == "purchase") & (read.occurred_at < cutoff) & known]
    visit = read.order_id
    if visit.isna().any():
        visit = visit.fillna(read.occurred_at.dt.date.astype(str))
    visits = read.groupby([read.customer_id, visit.rename("visit")], sort=False).agg(
        at=("occurred_at", "min"), spend=("amount", "sum"), discount=("discount", "sum")
    )
    visits = visits.reset_index()
    second = (visits["at"] - pd.Timestamp(0, tz="UTC")) // pd.Timedelta(seconds=1)
    visits["age"], visits["day"] = (int(cutoff.timestamp()) - second) / DAY, second // DAY
    visits = visits.sort_values(["customer_id", "age"], ascending=[True, False])
    gap = visits.groupby("customer_id").day.diff()
    visits["gap"] = gap.where(gap > 0)
    for name, days in (("half", h / 2), ("1h", h), ("2h", 2 * h), ("4h", 4 * h)):
        visits[f"orders_{name}"] = visits.age <= days
    visits["spend_1h"] = visits.spend.where(visits.orders_1h, 0)
    visits["spend_4h"] = visits.spend.where(visits.orders_4h, 0)
    visits["off"] = visits.discount.where(visits.orders_4h, 0)
    by = visits.groupby("customer_id", sort=False)
    sums = by[
        ["orders_half", "orders_1h", "orders_2h", "orders_4h", "spend_1h", "spend_4h", "off"]
    ].sum()
    c = by.agg(
        recency_days=("age", "min"),
        tenure_days=("age", "max"),
        orders_all=("age", "size"),
        spend_all=("spend", "sum"),
        gap_mean=("gap", "mean"),
        gap_median=("gap", "median"),
        gap_sd=("gap", "std"),
        gap_max=("gap", "max"),
    ).join(sums)
    recent = read[read.occurred_at >= cutoff - timedelta(days=4 * h)]
    c["items_4h"] = recent.groupby("customer_id").item_id.nunique().reindex(c.index).fillna(0)
    c = c[c.recency_days <= active]
    before, whole = c.orders_2h - c.orders_1h, c.spend_4h + c.off
    c = c.assign(
        recency_over_gap=c.recency_days / c.gap_median,
        trend_orders=(c.orders_1h - before) / (c.orders_1h + before + 1),
        discount_share=(c.off / whole.where(whole != 0)).fillna(0),
    )
    return c[list(CORE)].astype(float).reset_index()
