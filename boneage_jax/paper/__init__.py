"""The paper's table: its experiments, what they need, their results and their page."""
