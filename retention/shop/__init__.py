"""Use the models from Python: `Shop`, `ChurnClassifier`, `evaluate_uplift` and the plots.

`retention` exports the public names. The other modules of this package are private.
"""
