"""How good it is: scores with intervals, figures, reports."""
