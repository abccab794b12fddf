"""The experiments of the paper's table."""
