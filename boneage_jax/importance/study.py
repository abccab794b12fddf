"""What `boneage importance` finds out about a run: every method on the same images, kept as it is done.

Each result is a file of its own in `work/`: the same command goes on where it was cut short.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, UInt8

from boneage_jax import anatomy, parallel
from boneage_jax.analysis.stages import stages_of
from boneage_jax.data import images
from boneage_jax.data.examples import View
from boneage_jax.data.reading import view_of
from boneage_jax.data.sources import Dataset, Records
from boneage_jax.errors import UserError
from boneage_jax.files import check_writable, replacing
from boneage_jax.geometry import Similarity
from boneage_jax.importance import atlas, faithfulness, gradients, masking, truth
from boneage_jax.importance.atlas import AREAS, GROUPS, Picture, Territory
from boneage_jax.importance.function import AgeFunction, Months, Step, over_all
from boneage_jax.importance.masking import Filling
from boneage_jax.phantom.series import Series
from boneage_jax.runs import run_folder
from boneage_jax.runs.inference import predict_ages
from boneage_jax.runs.run_folder import LoadedRun
from boneage_jax.runs.state import Arrays, Network
from boneage_jax.shown import command

OCCLUSION, SHAPLEY, INTEGRATED = "occlusion", "Shapley values", "integrated gradients"
SMOOTH, CAM = "SmoothGrad", "Grad-CAM"
METHODS = (OCCLUSION, SHAPLEY, INTEGRATED, SMOOTH, CAM)
ADDITIVE = (OCCLUSION, SHAPLEY, INTEGRATED)
"""Methods whose parts say what a prediction changes by where they are replaced; of the last two they add up to it."""

TRUTH = "bones aged by a year"

_PLAYERS = len(GROUPS) - 1
_FEWEST = 8

_BLIND = 64
"""At most so many images are shown to the network without training: half of all time would go there, for one mean."""


@dataclasses.dataclass(frozen=True)
class ImportanceRequest:
    """What to ask of which run.

    Attributes:
      run: folder of an age network's run.
      out: folder for everything.
      data: folder of built datasets; None for the one trained from.
      dataset: name; empty for the one trained on.
      split: of it.
      images: at most so many, spread over the ages.
      filling: what parts are replaced by: see `masking.filling`.
      beside: folders of runs that see other regions, whose errors by stage are laid beside this run's.
      batch_size: images at once.
      workers: threads that draw phantoms.
      seed: of noise, fillings and the network without training.
    """

    run: pathlib.Path
    out: pathlib.Path
    data: pathlib.Path | None = None
    dataset: str = ""
    split: str = "test"
    images: int = 200
    filling: Filling = "other"
    beside: tuple[pathlib.Path, ...] = ()
    batch_size: int = 32
    workers: int = 1
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class Subjects:
    """The images that are asked about.

    Attributes:
      ids: of them.
      image: what the network sees.
      areas: of each of its pixels.
      male: whether each child is a boy.
      reading: bone age as labelled, in months; where it is not, as predicted.
      predicted: bone age as predicted, in months.
      territories: the same areas, on the canvas.
    """

    ids: list[str]
    image: UInt8[np.ndarray, "n h w p"]
    areas: UInt8[np.ndarray, "n h w p"]
    male: Bool[np.ndarray, " n"]
    reading: Float[np.ndarray, " n"]
    predicted: Float[np.ndarray, " n"]
    territories: list[Territory]

    @property
    def stage(self) -> np.ndarray:
        """Each child's stage, a number in `anatomy.STAGES`."""
        return stages_of(self.reading, self.male)


@dataclasses.dataclass(frozen=True)
class Faithfulness:
    """How far a method can be believed.

    Attributes:
      bones: rank correlation with the truth over bones and its interval; None without truth, or for groups alone.
      groups: likewise over groups.
      by_image: mean rank correlation with the truth, over groups, image by image; NaN without truth.
      deletion: see `faithfulness.deletion`.
      insertion: see `faithfulness.insertion`.
      untrained: mean rank correlation, over groups and image by image, with what the method says of the same network
        without training (Adebayo et al. 2018, "Sanity Checks for Saliency Maps"), on `_BLIND` of the images: the
        less, the better.
    """

    bones: faithfulness.Score | None
    groups: faithfulness.Score | None
    by_image: float
    deletion: float
    insertion: float
    untrained: float


@dataclasses.dataclass(frozen=True)
class Findings:
    """All that was found out.

    Attributes:
      request: what was asked.
      loaded: the run.
      dataset: that was asked about.
      records: of its split.
      numbers: of the subjects among them.
      subjects: the images.
      bones: importance of each image's areas by method, in each method's unit; `TRUTH` too, on phantoms.
      groups: likewise of `GROUPS`.
      faith: by method.
      most_trusted: the method to believe.
      regions: by run, error by sex and stage: see `beside`.
    """

    request: ImportanceRequest
    loaded: LoadedRun
    dataset: Dataset
    records: Records
    numbers: np.ndarray
    subjects: Subjects
    bones: dict[str, np.ndarray]
    groups: dict[str, np.ndarray]
    faith: dict[str, Faithfulness]
    most_trusted: str
    regions: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]


def study(request: ImportanceRequest) -> Findings:
    """Asks all methods.

    Raises:
      UserError: for runs and data that cannot be used, and folders that cannot be written.
    """
    loaded = run_folder.load(request.run)
    if not loaded.task.needs_age or not hasattr(_module(loaded), "from_maps"):
        raise UserError(f"{request.run}: a run of the task {loaded.config.task.name!r}, expected 'bone_age'")
    config = loaded.config.data
    dataset = Dataset.open((request.data or pathlib.Path(config.dir)).expanduser(), request.dataset or config.name)
    view = view_of(config)
    records = dataset.split(request.split, view)

    # ---- images and their anatomy --------------------------------------------------------------------------------
    series = truth.series_of(dataset)
    if series is not None:
        truth.check_same(series, records)
    numbers = _chosen(records, request.images)
    check_writable(request.out)
    kept = _Kept(request, loaded, dataset, numbers)
    subjects = _subjects(kept, loaded, dataset, records, series, view, numbers, request)

    # ---- methods -------------------------------------------------------------------------------------------------
    explainer = _Explainer(loaded, subjects, request, kept)
    found = {name: explainer.of(name, loaded.arrays, "trained") for name in METHODS}
    blank = explainer.untrained()
    shown = _spread(len(numbers), _BLIND)
    blind = {name: explainer.of(name, blank, "untrained", shown) for name in METHODS}
    bones = {name: value for name, value in found.items() if value.shape[1] == len(AREAS)}
    groups = {name: atlas.grouped(v) if v.shape[1] == len(AREAS) else v for name, v in found.items()}
    groups[OCCLUSION] = explainer.occluded_groups(loaded.arrays)

    # ---- truth and trust -----------------------------------------------------------------------------------------
    if series is not None:
        aged = _aged(kept, loaded, explainer, series, records, view, numbers, subjects, request)
        bones[TRUTH], groups[TRUTH] = aged, atlas.grouped(aged)
    faith = {name: _faith(name, bones, groups, (shown, areas_of(blind[name])), explainer) for name in METHODS}
    return Findings(
        request,
        loaded,
        dataset,
        records,
        numbers,
        subjects,
        bones,
        groups,
        faith,
        _most_trusted(faith),
        _regions(request, loaded, dataset),
    )


def areas_of(importance: Float[np.ndarray, "n k"]) -> Float[np.ndarray, "n groups"]:
    """Returns importance by group, whether it came by group or by area."""
    return importance if importance.shape[1] == len(GROUPS) else atlas.grouped(importance)


def _module(loaded: LoadedRun) -> Any:
    return loaded.network.module(loaded.arrays["params"], loaded.arrays["batch_stats"])


def _spread(count: int, most: int) -> np.ndarray:
    """At most so many of 0 to `count` - 1, evenly spread, both ends among them."""
    return np.linspace(0, count - 1, min(most, count)).round().astype(int)


def _chosen(records: Records, count: int) -> np.ndarray:
    """Numbers of images spread evenly over the ages, in the order of the split."""
    ages, _ = records.labels()
    order = np.argsort(np.where(np.isfinite(ages), ages, np.inf), kind="stable")
    chosen = _spread(len(order), count)
    if len(chosen) < _FEWEST:
        raise UserError(f"{len(chosen)} images: expected at least {_FEWEST} to say anything of")
    return np.sort(order[chosen])


class _Kept:
    """Results in files; those of another question lie under another key."""

    def __init__(self, request: ImportanceRequest, loaded: LoadedRun, dataset: Dataset, numbers: np.ndarray):
        asked = {
            "run": run_folder.digest(loaded),
            "data": dataset.fingerprint,
            "split": request.split,
            "images": numbers.tolist(),
            "filling": [request.filling, "exposed alike"],
            "seed": request.seed,
            "areas": [*AREAS, *GROUPS, atlas.MARGIN],
            "blind": _BLIND,
        }
        key = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:16]
        self._folder = request.out / "work" / key

    def __call__(self, name: str, make: Callable[[], Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
        """Returns what is kept under a name, or makes and keeps it."""
        path = self._folder / f"{name.replace(' ', '_')}.npz"
        if not path.exists():
            arrays: dict[str, Any] = dict(make())
            with replacing(path) as scratch, scratch.open("wb") as file:
                np.savez_compressed(file, **arrays)
        with np.load(path) as stored:
            return {key: stored[key] for key in stored.files}


def _subjects(
    kept: _Kept,
    loaded: LoadedRun,
    dataset: Dataset,
    records: Records,
    series: Series | None,
    view: View,
    numbers: np.ndarray,
    request: ImportanceRequest,
) -> Subjects:
    """Reads the images and finds their areas."""
    examples = [records[int(n)] for n in numbers]
    pictures = np.stack([example["image"] for example in examples])
    image = pictures if pictures.ndim == 4 else pictures[..., None]
    male = np.array([example["male"] > 0.5 for example in examples])
    columns = {"image": image, "male": male.astype(np.float32)}
    function = AgeFunction(loaded.network, loaded.task)

    def months(arrays: Arrays, batch: dict[str, Array]) -> Array:
        return function.months(arrays, batch["image"], batch["male"])

    predicted = np.asarray(
        over_all(loaded, loaded.arrays, months, columns, batch_size=request.batch_size, label="ages"), np.float64
    )
    label = np.array([float(example["bone_age"]) for example in examples])
    reading = np.where(np.isfinite(label), label, np.clip(predicted, 0, anatomy.MAX_MONTHS))

    def territory(n: int) -> Territory:
        if series is None:
            return atlas.atlas(int(stages_of(reading[n : n + 1], male[n : n + 1])[0]), bool(male[n]))
        child = truth.Child.of(records.row(int(numbers[n])))
        return atlas.of_child(series, child.split, child.number, child.age, child.male)

    def drawn() -> dict[str, np.ndarray]:
        count = len(numbers)
        made = parallel.ordered_map(territory, range(count), workers=request.workers, kind="thread")
        places = list(parallel.progress(made, total=count, label="anatomy"))
        stacked = [
            atlas.on_planes(place, view, _stored_pictures(dataset, records, int(n), place, series is not None))
            for n, place in zip(numbers, places, strict=True)
        ]
        return {
            "planes": np.stack(stacked),
            **{f"areas{n}": place.areas for n, place in enumerate(places)},
            "to_canvas": np.stack([place.to_canvas.matrix for place in places]),
        }

    stored = kept("anatomy", drawn)
    places = [
        Territory(stored[f"areas{n}"], Similarity.of_matrix(matrix)) for n, matrix in enumerate(stored["to_canvas"])
    ]
    ids = records.ids()
    return Subjects([ids[n] for n in numbers], image, stored["planes"], male, reading, predicted, places)


def _stored_pictures(
    dataset: Dataset, records: Records, number: int, place: Territory, is_drawn: bool
) -> list[Picture]:
    """Where the pictures that a record's view reads lie on the canvas."""
    if is_drawn:
        return [Picture(place.areas.shape, place.to_canvas)]
    facts = dataset.facts
    if not facts["registered"]:
        networks = ("--segmentation", "shipped", "--landmarks", "shipped")
        raise UserError(
            f"{dataset.path}: radiographs that are not registered, and no phantoms; register them first: "
            + command("register", dataset.name, *networks, "--data", dataset.path.parents[2])
        )
    by_name = {f"region_{region['name']}": region for region in facts.get("regions", ())}
    pictures = []
    for feature in records.features:
        region = by_name.get(feature) or (next(iter(by_name.values())) if by_name and feature == "image" else None)
        if region is None:
            shape = images.decode(records.row(number)[feature]).shape
            pictures.append(Picture.of_region((0, anatomy.CANVAS[0]), (0, anatomy.CANVAS[1]), *shape))
        else:
            pictures.append(Picture.of_region(region["rows"], region["columns"], region["height"], region["width"]))
    return pictures


class _Explainer:
    """Runs methods over the subjects."""

    def __init__(self, loaded: LoadedRun, subjects: Subjects, request: ImportanceRequest, kept: _Kept):
        self._loaded, self._request, self._kept = loaded, request, kept
        self._function = AgeFunction(loaded.network, loaded.task)
        lookup = np.array(atlas.GROUP_OF, np.uint8)
        self.columns = {
            "image": subjects.image,
            "fill": masking.filling(subjects.image, subjects.areas, request.filling, request.seed),
            "male": subjects.male.astype(np.float32),
            "areas": subjects.areas,
            "groups": lookup[subjects.areas],
            "number": np.arange(len(subjects.ids), dtype=np.int32),
        }

    def untrained(self) -> Arrays:
        """Returns the network as it was before training: fresh weights, statistics of nothing."""
        _, params, batch_stats = Network.build(self._loaded.config, seed=self._request.seed + 1)
        return {"params": params, "batch_stats": batch_stats}

    def of(self, method: str, arrays: Arrays, which: str, rows: Int[np.ndarray, " m"] | None = None) -> np.ndarray:
        """Returns each image's importance, or that of some, by area; by group for Shapley values."""

        def make() -> dict[str, np.ndarray]:
            value = self.run(self._steps()[method], arrays, f"{method}, {which}", rows=rows)
            if method == SHAPLEY:
                value = np.pad(masking.shapley(np.asarray(value, np.float64)), ((0, 0), (1, 0)))
            return {"importance": np.asarray(value, np.float64)}

        return self._kept(f"{method}-{which}", make)["importance"]

    def occluded_groups(self, arrays: Arrays) -> np.ndarray:
        """Returns occlusion with all areas of a group replaced at once."""

        def step(arrays: Arrays, batch: dict[str, Array]) -> Array:
            months = self.months(arrays, batch)
            return masking.occlusion(months, batch["image"], batch["groups"], batch["fill"], len(GROUPS))

        return self._kept("groups occluded", lambda: {"of": self.run(step, arrays, "occlusion of groups")})["of"]

    def curves(self, method: str, groups: np.ndarray) -> tuple[float, float]:
        """Returns how a method's order of groups does in deletion and insertion."""

        def make() -> dict[str, np.ndarray]:
            def step(arrays: Arrays, batch: dict[str, Array]) -> tuple[Array, Array]:
                months = self.months(arrays, batch)
                return masking.deletion_and_insertion(
                    months, batch["image"], batch["groups"], batch["fill"], batch["places"]
                )

            columns = {"places": faithfulness.places(groups)}
            deleted, inserted = self.run(step, self._loaded.arrays, f"{method}, deleting", columns)
            return {"deleted": deleted, "inserted": inserted}

        stored = self._kept(f"{method}-curves", make)
        return faithfulness.deletion(stored["deleted"]), faithfulness.insertion(stored["inserted"])

    def run(
        self,
        step: Step,
        arrays: Arrays,
        label: str,
        further: Mapping[str, np.ndarray] | None = None,
        rows: Int[np.ndarray, " m"] | None = None,
    ) -> Any:
        """Runs a step over all subjects, or some."""
        columns = {**self.columns, **(further or {})}
        if rows is not None:
            columns = {name: values[rows] for name, values in columns.items()}
        return over_all(self._loaded, arrays, step, columns, batch_size=self._request.batch_size, label=label)

    def months(self, arrays: Arrays, batch: dict[str, Array]) -> Months:
        """Returns the network as a function of pictures alone."""
        return lambda pictures: self._function.months(arrays, pictures, batch["male"])

    def maps(self, method: str, arrays: Arrays, batch: dict[str, Array]) -> Array:
        """Returns a method of gradients' attribution, pixel by pixel."""
        months = self.months(arrays, batch)
        if method == INTEGRATED:
            return gradients.integrated_gradients(months, batch["image"], batch["fill"])
        if method == SMOOTH:
            key = jax.random.key(self._request.seed)
            keys = jax.vmap(lambda n: jax.random.fold_in(key, n))(batch["number"])
            return gradients.smooth_grad(months, batch["image"], keys)
        maps = self._function.maps(arrays, batch["image"])
        size = (batch["image"].shape[1], batch["image"].shape[2])
        return gradients.grad_cam(lambda some: self._function.of_maps(arrays, some, batch["male"]), maps, size)

    def _steps(self) -> dict[str, Step]:
        def occlusion(arrays: Arrays, batch: dict[str, Array]) -> Array:
            months = self.months(arrays, batch)
            return masking.occlusion(months, batch["image"], batch["areas"], batch["fill"], len(AREAS))

        def subsets(arrays: Arrays, batch: dict[str, Array]) -> Array:
            months = self.months(arrays, batch)
            return masking.subset_values(months, batch["image"], batch["groups"], batch["fill"], _PLAYERS)

        def summed(method: str) -> Step:
            def step(arrays: Arrays, batch: dict[str, Array]) -> Array:
                found = self.maps(method, arrays, batch)
                # The parts of integrated gradients add up, their sign with them; slopes and maps of features do not.
                values = found if method == INTEGRATED else jnp.abs(found)
                return gradients.over_areas(values, batch["areas"], len(AREAS))

            return step

        return {OCCLUSION: occlusion, SHAPLEY: subsets, **{name: summed(name) for name in (INTEGRATED, SMOOTH, CAM)}}


def _aged(
    kept: _Kept,
    loaded: LoadedRun,
    explainer: _Explainer,
    series: Series,
    records: Records,
    view: View,
    numbers: np.ndarray,
    subjects: Subjects,
    request: ImportanceRequest,
) -> np.ndarray:
    """Changes of the prediction, in months, with one bone aged; area 0 is nobody's and stays 0."""
    children = [truth.Child.of(records.row(int(n))) for n in numbers]
    function = AgeFunction(loaded.network, loaded.task)

    def months(arrays: Arrays, batch: dict[str, Array]) -> Array:
        return function.months(arrays, batch["image"], batch["male"])

    def make() -> dict[str, np.ndarray]:
        every = range(len(anatomy.BONES))
        parts = []
        # Some children at a time: pictures of thirty bones each fill the memory.
        for chosen in parallel.in_batches(len(children), 16):
            some = [children[n] for n in chosen]
            label = f"{TRUTH}, {chosen.stop} of {len(children)}"
            pictures = truth.aged(series, some, view, every, workers=request.workers, label=label)
            male = np.repeat([float(child.male) for child in some], len(every)).astype(np.float32)
            columns = {"image": pictures.reshape(-1, *pictures.shape[2:]), "male": male}
            said = over_all(
                loaded, loaded.arrays, months, columns, batch_size=8 * request.batch_size, label="their ages"
            )
            parts.append(np.asarray(said, np.float64).reshape(len(some), len(every)))
        change = np.concatenate(parts) - subjects.predicted[:, None]
        return {"of": np.pad(change, ((0, 0), (1, 0)))}

    return kept("truth", make)["of"]


def _faith(
    name: str,
    bones: dict[str, np.ndarray],
    groups: dict[str, np.ndarray],
    untrained: tuple[np.ndarray, np.ndarray],
    explainer: _Explainer,
) -> Faithfulness:
    # What belongs to no bone has no truth, and is left out of the correlations.
    mine = groups[name][:, 1:]
    deletion, insertion = explainer.curves(name, groups[name])
    known = TRUTH in groups
    shown, blind = untrained
    return Faithfulness(
        faithfulness.agreement(bones[name][:, 1:], bones[TRUTH][:, 1:]) if known and name in bones else None,
        faithfulness.agreement(mine, groups[TRUTH][:, 1:]) if known else None,
        faithfulness.agreement_by_image(mine, groups[TRUTH][:, 1:]) if known else float("nan"),
        deletion,
        insertion,
        faithfulness.agreement_by_image(mine[shown], blind[:, 1:]),
    )


def _most_trusted(faith: dict[str, Faithfulness]) -> str:
    """By the truth image by image where there is one, else by deleting and inserting."""

    def merit(name: str) -> float:
        one = faith[name]
        return one.by_image if np.isfinite(one.by_image) else (one.deletion + one.insertion) / 2

    return max(faith, key=merit)


def _regions(
    request: ImportanceRequest, loaded: LoadedRun, dataset: Dataset
) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Predictions, readings and sexes of runs that see other regions, on the whole split."""
    found = {}
    for folder in (request.run, *request.beside) if request.beside else ():
        one = loaded if folder == request.run else run_folder.load(folder)
        if not one.task.needs_age:
            raise UserError(f"{folder}: a run of the task {one.config.task.name!r}, expected 'bone_age'")
        records = dataset.split(request.split, view_of(one.config.data))
        reading, male = records.labels()
        known = np.isfinite(reading)
        months = predict_ages(one, records).months
        name = one.config.data.regions or one.config.data.feature
        found[f"{name} ({folder.name})"] = (months[known], reading[known], male[known])
    return found


def maps_of(findings: Findings, rows: np.ndarray) -> dict[str, np.ndarray]:
    """Returns the attribution of some subjects pixel by pixel, by the methods that have one."""
    subjects, request = findings.subjects, findings.request
    kept = _Kept(request, findings.loaded, findings.dataset, findings.numbers)
    explainer = _Explainer(findings.loaded, subjects, request, kept)

    def make() -> dict[str, np.ndarray]:
        chosen = {name: values[rows] for name, values in explainer.columns.items()}
        made = {}
        for name in (INTEGRATED, SMOOTH, CAM):

            def step(arrays: Arrays, batch: dict[str, Array], name: str = name) -> Array:
                return explainer.maps(name, arrays, batch)

            made[name] = over_all(
                findings.loaded, findings.loaded.arrays, step, chosen, batch_size=len(rows), label=f"{name}, pictures"
            )
        return made

    return kept("pictures", make)
