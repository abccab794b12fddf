"""The cells of the paper's table."""
