"""Builder package; see README.md."""
