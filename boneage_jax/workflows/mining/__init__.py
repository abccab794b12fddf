"""Positive mining: a few masks drawn by hand become many (Iglovikov et al. 2017, arXiv:1712.05053).

A round trains a network on the masks that are there, predicts the other images, scores each predicted mask without
knowing the truth, and accepts the good ones for the next round. Mining ends when a round adds few. Between rounds,
people may forbid masks and draw better ones; both count from the next round on. A network learns little from images
that it already predicts well, so the masks of lowest score are the ones to correct, and the last round need not be the
best: the held-out masks decide which round is.

- `rounds`: the sequence of rounds (read this first).
- `folder`: what lies in the folder of a mining, and what people may put there.
- `labels`: which masks are given, and which of them are held out.
- `training`: the masks that a round trains on, its training, and its measurement.
- `scoring`, `shape_prior`: how good a predicted mask is.
- `summary`: the result as text.
"""

from boneage_jax.workflows.mining.rounds import mine
from boneage_jax.workflows.mining.summary import as_text, best_of

__all__ = ["as_text", "best_of", "mine"]
