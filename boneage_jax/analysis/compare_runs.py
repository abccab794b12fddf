"""Opens runs to compare them on the same images, and refuses those whose errors cannot be paired."""

from __future__ import annotations

import dataclasses
import itertools
import pathlib
from collections.abc import Sequence

import numpy as np

from boneage_jax.analysis import predictions, run_inputs
from boneage_jax.analysis.paired import CHILDREN, RunComparison, paired_differences, pairs_of, scored
from boneage_jax.analysis.request import CompareRequest
from boneage_jax.data.reading import view_of
from boneage_jax.data.sources import Dataset, Records
from boneage_jax.errors import UserError, fail_if_any
from boneage_jax.files import check_writable
from boneage_jax.network_ref import NetworkRef
from boneage_jax.runs.run_folder import LoadedRun


@dataclasses.dataclass(frozen=True)
class _Entry:
    """A run with the images that it is compared on.

    Attributes:
      name: of the run; see `short_names`.
      network: the run, as it was named.
      run: the same, loaded.
      dataset: that it reads.
      records: of the split.
      labels: reading in months and whether a boy, by the id of the image, of those that have a reading.
    """

    name: str
    network: NetworkRef
    run: LoadedRun
    dataset: Dataset
    records: Records
    labels: dict[str, tuple[float, bool]]


def compare_runs(request: CompareRequest) -> RunComparison:
    """Predicts a split with every run and compares them.

    Raises:
      UserError: for runs that cannot be read or are not networks of bone age, data that are not there, a folder that
        cannot be written to, and runs whose errors on these images cannot be paired.
    """
    networks = [NetworkRef.of(run) for run in request.runs]
    if len(networks) < 2:
        raise UserError(f"{', '.join(map(str, networks))}: found {len(networks)} run, expected two or more to compare")
    names = short_names(networks)
    loaded = [run_inputs.load(network) for network in networks]
    datasets = _datasets(request, networks, loaded)
    notes: list[str] = []
    entries = [
        _entry(request, name, network, run, dataset, notes)
        for name, network, run, dataset in zip(names, networks, loaded, datasets, strict=True)
    ]
    _check_same_labels(entries)
    _check_common_images(entries, with_first=request.with_first)
    notes += _check_seen(entries, request.data)
    check_writable(request.out)
    predicted = {
        one.name: predictions.predict_split(one.run, one.records, test_time=request.test_time) for one in entries
    }
    return RunComparison(
        predictions.split_label(datasets[0].name, request.split, test_time=request.test_time),
        datasets[0].is_phantom,
        tuple(
            scored(one.name, one.network, one.run.chosen, one.run.config.data.sex, predicted[one.name])
            for one in entries
        ),
        paired_differences(predicted, with_first=request.with_first),
        tuple(notes),
    )


def _entry(
    request: CompareRequest, name: str, network: NetworkRef, run: LoadedRun, dataset: Dataset, notes: list[str]
) -> _Entry:
    """Opens the split as a run reads it; adds to the notes what must be known of the run's checkpoint."""
    view = view_of(run.config.data, split=request.split, evaluation=True)
    if view.fold is not None:
        run = run_inputs.at_last_step(run)
        notes.append(
            f"{name}: compared on fold {view.fold.number}, which it was not trained on, at its last checkpoint."
        )
    elif request.split == run.config.data.eval_split:
        notes.append(f"{name}: its checkpoint was chosen on these images, which makes its error look smaller.")
    records = predictions.open_labelled(dataset, request.split, view)
    reading, male = (column.tolist() for column in records.labels())
    labels = {
        image_id: (months, boy)
        for image_id, months, boy in zip(records.ids(), reading, male, strict=True)
        if np.isfinite(months)
    }
    return _Entry(name, network, run, dataset, records, labels)


def short_names(networks: Sequence[NetworkRef]) -> list[str]:
    """Returns the shortest end of each network's path that no other one has.

    Raises:
      UserError: where a network is named twice.
    """
    places = [(network.place.resolve(), network.member) for network in networks]
    twice = [str(network) for network, place in zip(networks, places, strict=True) if places.count(place) > 1]
    if twice:
        raise UserError(f"{twice[0]}: found the same run {len(twice)} times, expected runs that differ")
    names = [""] * len(networks)
    for n, (path, _) in enumerate(places):
        for parts in range(1, len(path.parts) + 1):
            ends = ["/".join(place.parts[-parts:]) + (f":{of}" if of else "") for place, of in places]
            names[n] = ends[n]
            if ends.count(ends[n]) == 1:
                break
        if networks[n].path is None:
            names[n] = str(networks[n])
    return names


def _datasets(request: CompareRequest, networks: Sequence[NetworkRef], loaded: Sequence[LoadedRun]) -> list[Dataset]:
    """The dataset that each run reads: its own where that is made of the same radiographs, else the common one.

    Raises:
      UserError: for data that are not there, and for runs that were trained on images of another kind.
    """
    first = loaded[0]
    common = Dataset.open(run_inputs.data_dir_of(first, request.data), request.dataset or first.config.data.name)
    datasets = []
    for run in loaded:
        own = common
        if not request.dataset and run.config.data.name != common.name:
            try:
                own = Dataset.open(run_inputs.data_dir_of(run, request.data), run.config.data.name)
            except UserError:  # not built here: the common one may do
                own = common
        datasets.append(own if own.origin == common.origin else common)
    problems = [
        f"{network}: {why}"
        for network, run, dataset in zip(networks, loaded, datasets, strict=True)
        if (why := run_inputs.input_problem(run, dataset))
    ]
    fail_if_any(
        problems,
        f"{common.name}: runs that cannot read its images",
        "Name a dataset of their kind with --dataset, or compare runs whose datasets are made of the same radiographs.",
    )
    return datasets


def _check_same_labels(entries: Sequence[_Entry]) -> None:
    """Raises `UserError` where an image has another reading or sex for one run than for another."""
    known: dict[str, tuple[str, tuple[float, bool]]] = {}
    problems = []
    for one in entries:
        for image_id, label in one.labels.items():
            other, before = known.setdefault(image_id, (one.name, label))
            if label != before:
                shown = [f"{months:g} months, {'M' if boy else 'F'}" for months, boy in (before, label)]
                problems.append(f"{image_id}: found {shown[0]} for {other}, {shown[1]} for {one.name}")
    fail_if_any(problems, "images whose labels differ between the runs' datasets", "Name one dataset with --dataset.")


def _check_common_images(entries: Sequence[_Entry], *, with_first: bool) -> None:
    """Raises `UserError` where no two runs that are to be compared have an image in common."""
    pairs = pairs_of(entries, with_first=with_first)
    if not any(one.labels.keys() & other.labels.keys() for one, other in pairs):
        counts = [f"{one.name}: {len(one.labels)} images ({CHILDREN[one.run.config.data.sex]})" for one in entries]
        raise UserError(
            f"no two of these runs answer for the same image ({'; '.join(counts)}); name runs of the same children "
            "and, in cross-validation, of the same fold"
        )


def _check_seen(entries: Sequence[_Entry], data_dir: pathlib.Path | None) -> list[str]:
    """Returns notes of runs that were, or may have been, trained on the images.

    Raises:
      UserError: where one run of two was trained on an image that the other was not: their errors on it mean
        different things.
    """
    notes, seen = [], {}
    for one in entries:
        learnt = run_inputs.training_ids(one.run, one.dataset, run_inputs.data_dir_of(one.run, data_dir))
        if learnt is None:
            notes.append(
                f"{one.name}: it is not known whether it was trained on any of these images; its dataset "
                f"{one.run.config.data.name} is not here as it was then."
            )
        else:
            seen[one.name] = learnt & one.labels.keys()
    labels = {one.name: one.labels for one in entries}
    unequal = []
    for first, second in itertools.combinations(seen, 2):
        common = labels[first].keys() & labels[second].keys()
        if seen[first] & common != seen[second] & common:
            unequal.append(
                f"{first}: trained on {len(seen[first] & common)} of the {len(common)} images that it has in common "
                f"with {second}; {second}: on {len(seen[second] & common)}"
            )
    fail_if_any(
        unequal,
        "runs that were trained on images that others were not trained on",
        "Name a split that none was trained on with --split.",
    )
    return notes + [
        f"{name}: trained on {len(ids)} of these images, so its error says nothing about new ones."
        for name, ids in seen.items()
        if ids
    ]
