"""Searches over configs."""
