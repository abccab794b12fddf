"""Searches over settings: what is varied, which worker runs which trial, results.

Optuna chooses the settings; each trial is an ordinary run.
"""
