"""Resolve several ids of a customer into one.

Links can be reviewed and undone.

`links` links customers with equal keys, and `probabilistic` those with similar attributes.
`review` lets people decide, and `links` stores all decisions. `canonical_ids` turns decisions into
tables that the lake's views join. Stored rows keep their original id.
"""

from retention.lake.identity.keys import IdentityRules, load_rules
from retention.lake.identity.links import forget, ids_of

__all__ = ["IdentityRules", "forget", "ids_of", "load_rules"]
