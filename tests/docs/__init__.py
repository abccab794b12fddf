"""The documentation: every command and link in it."""
