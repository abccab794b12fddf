"""What `boneage bundle` does: puts the trained networks from radiograph to age into one file."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any

import jax
import numpy as np

from boneage_jax import NOT_A_MEDICAL_DEVICE
from boneage_jax.analysis.ensemble import Blend
from boneage_jax.data.reading import view_of
from boneage_jax.data.sources import Dataset
from boneage_jax.errors import UserError
from boneage_jax.files import check_writable
from boneage_jax.hand.age_ensemble import canvas_of, of_known_sex, trained_on_phantoms
from boneage_jax.hand.network import expect_task
from boneage_jax.runs import bundle, run_folder
from boneage_jax.runs.inference import predict_ages
from boneage_jax.workflows.assessment import PHANTOMS_ONLY
from boneage_jax.workflows.hand_networks import TERMS, HandNetworks, open_networks, terms_of
from boneage_jax.workflows.requests import BundleRequest


def make(request: BundleRequest) -> str:
    """Writes a bundle; returns what it holds, for people.

    Quality thresholds are those of the request, else those of the bundle that both networks of the hand come from. The
    canvas is that of the age networks.

    Raises:
      UserError: for runs of other tasks, data that are not there, and files that cannot be written.
    """
    if request.out.is_dir():
        raise UserError(f"{request.out}: this is a folder, expected the name of a file to write")
    check_writable(request.out.absolute().parent)
    hand = open_networks(request.segmentation, request.landmarks, request.thresholds)
    ages = {f"age{n}": bundle.load(ref, "age0") for n, ref in enumerate(request.ages)}
    for loaded in ages.values():
        expect_task(loaded, "bone_age")
    if request.bits is not None:
        ages = {name: bundle.in_bits(loaded, request.bits) for name, loaded in ages.items()}
    runs = {"segmentation": hand.segmentation, "landmarks": hand.landmarks, **ages}
    phantoms_only = any(map(trained_on_phantoms, ages.values()))
    about: dict[str, Any] = {
        "notice": f"{PHANTOMS_ONLY} {NOT_A_MEDICAL_DEVICE}" if phantoms_only else NOT_A_MEDICAL_DEVICE
    }
    if request.debias and request.stretch:
        raise UserError("found both --debias and --stretch, expected one of them")
    if request.weights or request.debias or request.stretch:
        about["blend"] = dataclasses.asdict(_fitted(request, list(ages.values())))
    if hand.calibration is not None:
        about |= hand.calibration.to_json()
    terms = list(dict.fromkeys([*terms_of(list(runs.values())), *filter(None, [request.terms])]))
    if terms:
        about[TERMS] = " ".join(terms)
    if canvas := canvas_of(list(ages.values())) or hand.canvas:
        about["canvas"] = dataclasses.asdict(canvas)
    size = bundle.write(runs, about, request.out)
    lines = []
    for name, loaded in runs.items():
        model, data = loaded.config.model, loaded.config.data
        weights = sum(x.size for x in jax.tree.leaves(loaded.arrays["params"]))
        lines.append(
            f"  {name:<14}{weights:>10,} weights   {model.name}, {data.height} x {data.width}, evaluation "
            f"{loaded.task.score.shown(loaded.score)} (checkpoint of {loaded.chosen})"
        )
    return "\n".join([f"{request.out}: {size / 1e6:.2f} MB", *lines, _thresholds_line(hand), *terms, about["notice"]])


def _thresholds_line(hand: HandNetworks) -> str:
    """The quality thresholds' origin, for people."""
    if hand.calibration is None:
        return (
            "no quality thresholds: those of phantom_only will be used, and flags marked as uncalibrated; "
            "choose some with boneage calibrate quality, and add them with --thresholds"
        )
    return f"quality thresholds: {hand.calibration.origin or 'of unknown origin'}"


def _fitted(request: BundleRequest, ages: list[run_folder.LoadedRun]) -> Blend:
    """The blend that fits a split best; its hands are registered by their true masks and key points."""
    first = ages[0].config.data
    opened = Dataset.open((request.data or pathlib.Path(first.dir)).expanduser(), first.name)
    readings, male = opened.split(request.split).labels()
    read = np.isfinite(readings)
    predicted = []
    for loaded in ages:
        view = dataclasses.replace(view_of(loaded.config.data), sex="all")
        own = of_known_sex(loaded, predict_ages(loaded, opened.split(request.split, view)), male).months
        if not np.isfinite(own[read]).any():
            raise UserError(
                f"{loaded.folder}: trained on one sex, found no child of it in {request.split!r} of {opened.path}; "
                "choose another --split"
            )
        predicted.append(own)
    return Blend.fit(
        np.stack(predicted)[:, read],
        readings[read],
        weighted=request.weights,
        corrected=request.debias,
        stretched=request.stretch,
    )
