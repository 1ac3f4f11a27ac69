"""Named groups of customers: the expression language, its evaluation and its storage."""
