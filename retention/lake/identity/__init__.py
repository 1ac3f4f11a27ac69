"""Who is one customer: several sources' ids resolved into one, by links that can be reviewed and undone.

`exact` links customers who share a key, `probable` those who are alike; `desk` is where people decide; `links` keeps every
decision; `resolve` makes of them what the lake's views join. Stored rows keep the id they came with.
"""

from retention.lake.identity.links import forget, ids_of
from retention.lake.identity.rules import IdentityRules, load

__all__ = ["IdentityRules", "forget", "ids_of", "load"]
