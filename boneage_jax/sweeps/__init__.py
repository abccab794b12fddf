"""Searches over settings: what is varied, who tries what, and what came of it. Optuna chooses; runs stay ordinary."""
