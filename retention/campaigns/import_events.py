"""React to imported events: record redeemed coupons, and recompute closed results that gained orders."""

from retention.campaigns import late_orders, redemptions
from retention.lake.import_log import ImportListener

LISTENER = ImportListener(in_transaction=redemptions.from_events, after_commit=late_orders.note)
