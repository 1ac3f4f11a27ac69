"""Models of how often customers order and how much they spend.

BG/NBD, MBG/NBD and Pareto/NBD share the interface `retention.value.purchase_model.PurchaseModel`.
Gamma-Gamma models the spend per order. All are vectorised over customers.
"""
