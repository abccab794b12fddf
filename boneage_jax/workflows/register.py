"""What `boneage register` does: opens networks and data, registers every hand, returns a summary."""

from __future__ import annotations

import pathlib

from boneage_jax.canvas import Canvas
from boneage_jax.data.sources import Dataset
from boneage_jax.hand.pipeline import HandPipeline, Settings
from boneage_jax.hand.regions import named
from boneage_jax.workflows import calibration, derive, sheets
from boneage_jax.workflows.assessment import UNCALIBRATED_NOTICE
from boneage_jax.workflows.derive import Derived
from boneage_jax.workflows.hand_networks import open_networks
from boneage_jax.workflows.requests import RegisterRequest


def derived_of(request: RegisterRequest) -> Derived:
    """Registers a dataset and writes its page.

    Hands are laid on the canvas of the request, else on that of the bundle that both networks come from, else on the
    paper's.

    Raises:
      UserError: for runs, datasets, splits and regions that cannot be used, and disks that cannot be written.
    """
    source = Dataset.open(request.data, request.dataset)
    networks = open_networks(request.segmentation, request.landmarks, request.thresholds)
    canvas = Canvas.of(*request.canvas) if request.canvas else networks.canvas or Canvas()
    settings = Settings(
        tuple(named(request.regions, canvas)),
        canvas,
        networks.thresholds(),
        networks.calibration is not None,
        views=request.views,
        fine_stage=request.fine_stage,
        batch_size=request.batch_size,
        threads=request.threads,
    )
    with HandPipeline(networks.segmentation, networks.landmarks, settings) as pipeline:
        derived = derive.derive(
            source,
            pipeline,
            calibration.identities(networks.segmentation, networks.landmarks),
            _out(request),
            name=request.name,
            splits=request.splits,
            drop_flagged=request.drop_flagged,
        )
    sheets.write_page(source, derived)
    return derived


def register(request: RegisterRequest) -> str:
    """Registers a dataset, writes its page and annotations; returns what came out, for people.

    Raises:
      UserError: see `derived_of`.
    """
    derived = derived_of(request)
    place, name = derived.dataset.path, derived.dataset.name
    lines = [sheets.as_text(derived)]
    if not derived.calibrated:
        lines.append(UNCALIBRATED_NOTICE)
    lines += [
        f"page      {place / sheets.PAGE}",
        f"flags     {place / derive.FLAGS}",
        f"dataset   {name} in {_out(request)}; train with --config.data.name={name}",
    ]
    if request.annotations:
        sheets.write_annotations(derived, request.annotations)
        lines.append(f"masks and key points to correct   {request.annotations}")
    return "\n".join(lines)


def _out(request: RegisterRequest) -> pathlib.Path:
    """Folder that the new dataset goes to."""
    return request.out or request.data
