"""Core lines changed one at a time: `make mutations` shows that tests notice each. See `catalogue` for the list."""
