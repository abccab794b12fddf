"""How good a predicted mask is, judged without the truth."""

from __future__ import annotations

import concurrent.futures
import math
import pathlib
from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Bool

from boneage_jax import parallel
from boneage_jax.data import images
from boneage_jax.data.annotations import mask_folder
from boneage_jax.data.images import Grey
from boneage_jax.data.sources import Records
from boneage_jax.geometry import Similarity
from boneage_jax.hand import masks
from boneage_jax.hand.masks import Mask
from boneage_jax.hand.segment import Segmenter
from boneage_jax.runs import run_folder
from boneage_jax.workflows.mining.folder import RoundFolder
from boneage_jax.workflows.mining.shape_prior import MaskShape, ShapePrior

BATCH_SIZE, THREADS = 16, 4
"""Images that a network sees at once, and threads that prepare them; neither changes a result."""

SMALLER = 0.8
"""Scale of the second image that a mask must agree with; chosen by eye, see docs/explanation/lab-notes.md."""

USUAL_BORDER = 1 / 6
"""A hand leaves the image with its forearm: this part of its perimeter at most. Chosen by eye, see
docs/explanation/lab-notes.md."""

BORDER_SLOPE = 4.0
"""Decrease of the score for each part of the perimeter beyond that; chosen by eye likewise."""

USUAL_DISTANCE = 3.0
"""Shapes within so many standard deviations of the prior lose nothing; chosen by eye likewise."""


def score(found: Mask, smaller: Bool[np.ndarray, "n m"], prior: ShapePrior) -> float:
    """Returns how good a mask is, 0 to 1: a product, so that one fault is enough.

    The factors: does the mask stay the same in other views of the image, is it one piece, does it stay away from the
    image's border, is its shape one of those that were given?

    Args:
      found: mask of the image, averaged over its views.
      smaller: mask of the image at `SMALLER` of its size, scaled back.
      prior: shapes of given masks.
    """
    shape = MaskShape.of(found.inside)
    if shape is None:
        return 0.0
    full = images.fit(images.of_mask(found.inside), *smaller.shape) > 127
    stability = min(found.agreement, found.expected, masks.iou(full, smaller))
    one_piece = 1.0 - min(1.0, found.second)
    off_border = 1.0 - max(0.0, min(1.0, (found.border - USUAL_BORDER) * BORDER_SLOPE))
    likely_shape = math.exp(-0.5 * max(0.0, prior.distance(shape) - USUAL_DISTANCE))
    return stability * one_piece * off_border * likely_shape


def predict_and_score(
    records: Records, folder: RoundFolder, *, without_masks: Sequence[int], prior: ShapePrior
) -> None:
    """Writes the predicted masks of images, and their scores.

    Args:
      records: images of the training split.
      folder: of the round, its network trained.
      without_masks: numbers of the images to predict.
      prior: shapes of given masks.
    """
    loaded = run_folder.load(folder.run)
    ids = records.ids()
    scored: list[tuple[str, float, Mask]] = []
    batches = [[without_masks[n] for n in batch] for batch in parallel.in_batches(len(without_masks), BATCH_SIZE)]
    with (
        concurrent.futures.ThreadPoolExecutor(THREADS) as pool,
        parallel.progress_of(total=len(without_masks), label=f"round {folder.path.name}: scoring masks") as bar,
    ):
        segmenter = Segmenter(loaded, pool, batch_size=BATCH_SIZE)
        for batch, decoded in parallel.read_ahead(records.image, batches):
            for n, (mask, value) in zip(batch, _scored(segmenter, decoded, prior), strict=True):
                mask_folder.write_one(ids[n], mask.inside, folder.predicted)
                scored.append((ids[n], value, mask))
            bar.update(len(batch))
    folder.write_scores(scored)


def _scored(segmenter: Segmenter, originals: Sequence[Grey], prior: ShapePrior) -> list[tuple[Mask, float]]:
    """The mask and the score of each image."""
    inputs = segmenter.inputs(originals)
    found = segmenter.masks(originals, inputs)
    network = segmenter.network
    height, width = network.size
    border = (1 / SMALLER - 1) / 2
    shrink = Similarity.framing(
        (-border * height, (1 + border) * height), (-border * width, (1 + border) * width), height, width
    )
    small = [images.warp(laid_out.image, shrink, height, width) for laid_out in inputs]
    (maps,) = network(small, flips=False)
    scores = []
    for mask, probabilities in zip(found, maps, strict=True):
        scaled_back = cv2.warpAffine(probabilities, shrink.inverse().matrix, (width, height), flags=cv2.INTER_LINEAR)
        scores.append(score(mask, scaled_back > 0.5, prior))
    return list(zip(found, scores, strict=True))


def mean_iou(run: pathlib.Path, records: Records) -> float:
    """Returns the mean IoU of a run's masks with the images' own, at the images' size.

    Args:
      run: folder of a run of the task `segmentation`.
      records: images that have masks.
    """
    loaded = run_folder.load(run)
    values: list[float] = []
    with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
        segmenter = Segmenter(loaded, pool, batch_size=BATCH_SIZE)
        for batch, decoded in parallel.read_ahead(records.image, parallel.in_batches(len(records), BATCH_SIZE)):
            found = segmenter.masks(decoded)
            values += [masks.iou(one.inside, records.mask(n)) for one, n in zip(found, batch, strict=True)]
    return float(np.mean(values))
