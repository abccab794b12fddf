"""How good networks are: scores with intervals, comparisons, ensembles, figures and reports."""
