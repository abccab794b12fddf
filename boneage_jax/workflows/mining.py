"""Positive mining: a few masks by hand become many (Iglovikov et al. 2017).

A round trains on the masks that are there, predicts the rest, lets every mask speak for itself (does it stay when the
picture is mirrored or made smaller, is it one piece, does it look like a hand that was labelled?), and accepts the good
ones for the next round. It ends when few are added. People may forbid masks (`veto.txt`) and give better ones
(`corrections/ID.png`) between rounds; both count from the next round on. What a network is sure of teaches it little:
the worst masks are those to correct. So the last round need not be the best: the masks held out say which is.

    FOLDER/labels/           masks given by hand, by id; a tenth of them watch the training from outside
    FOLDER/held_out/         that tenth
    FOLDER/veto.txt          ids never to be accepted, one a line
    FOLDER/corrections/      masks corrected by hand, by id
    FOLDER/rounds/N/         run/, train/ (masks trained on), by_hand/ (those of them that people drew), masks/
                             (predicted), scores.csv, round.html
    FOLDER/curve.json        what each round came to
"""

from __future__ import annotations

import concurrent.futures
import csv
import dataclasses
import json
import math
import pathlib
import shutil
from collections.abc import Iterable, Mapping, Sequence

import cv2
import numpy as np
from jaxtyping import Bool

from boneage_jax import parallel
from boneage_jax.config import ExperimentConfig
from boneage_jax.data import annotations as drawn
from boneage_jax.data import images
from boneage_jax.data.annotations import mask_folder
from boneage_jax.data.images import Grey
from boneage_jax.data.sources import Dataset, Records
from boneage_jax.errors import UserError
from boneage_jax.files import check_writable, replacing, write_text
from boneage_jax.geometry import Similarity
from boneage_jax.hand import masks
from boneage_jax.hand.masks import Mask
from boneage_jax.hand.segment import Segmenter
from boneage_jax.runs import run_folder
from boneage_jax.train.loop import train
from boneage_jax.workflows import mining_page

_SMALLER = 0.8
"""Size of the second picture that a mask must agree with."""

_HELD_OUT = 0.1

_BATCH, _THREADS = 16, 4


@dataclasses.dataclass(frozen=True)
class MiningRequest:
    """What to mine.

    Attributes:
      config: of the segmentation; its data names dataset and training split.
      folder: where everything goes.
      masks: annotations of the labelled images; None to take `labelled` images' own masks.
      labelled: number of images, first by id, whose own masks count as labelled; for phantoms.
      rounds: at most.
      accept: lowest score that is accepted, 0 to 1.
      correct: masks of lowest score that become the images' own after each round, as by a person; for phantoms.
      growth: a round that adds less than this part of what was accepted is the last.
      measure: split on whose own masks each round is measured; empty for none.
      reference: whether a network is trained on all masks of the dataset too, to compare with.
    """

    config: ExperimentConfig
    folder: pathlib.Path
    masks: pathlib.Path | None = None
    labelled: int = 100
    rounds: int = 6
    accept: float = 0.90
    correct: int = 0
    growth: float = 0.02
    measure: str = ""
    reference: bool = False


@dataclasses.dataclass(frozen=True)
class Shape:
    """What a mask looks like, for comparison with others.

    Attributes:
      area: logarithm of its part of the picture.
      solidity: area over that of its convex hull; fingers make it small.
      roughness: logarithm of circumference over the root of the area; long for spread fingers, longer for rags.
    """

    area: float
    solidity: float
    roughness: float

    @classmethod
    def of(cls, mask: Bool[np.ndarray, "h w"]) -> Shape | None:
        """Returns the shape of a mask; None for an empty one."""
        outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        if not outlines:
            return None
        outline = max(outlines, key=cv2.contourArea)
        area = cv2.contourArea(outline)
        if area < 16:
            return None
        hull = cv2.contourArea(cv2.convexHull(outline))
        length = cv2.arcLength(outline, closed=True)
        return cls(math.log(area / mask.size), area / hull, math.log(length / math.sqrt(area)))


@dataclasses.dataclass(frozen=True)
class Prior:
    """How the shapes of labelled masks scatter.

    Attributes:
      centre: median of each of `Shape`'s numbers.
      spread: their standard deviation, from the quartiles, and not below a floor.
    """

    centre: np.ndarray
    spread: np.ndarray

    @classmethod
    def of(cls, shapes: Iterable[Shape]) -> Prior:
        """Returns the prior of labelled masks. Raises `UserError` where there are none."""
        values = np.array([dataclasses.astuple(shape) for shape in shapes])
        if not len(values):
            raise UserError("none of the labelled masks shows a hand")
        quartiles = np.percentile(values, (25, 75), axis=0)
        return cls(np.median(values, axis=0), np.maximum((quartiles[1] - quartiles[0]) / 1.349, (0.15, 0.03, 0.06)))

    def distance(self, shape: Shape) -> float:
        """Returns how many deviations the strangest of a shape's numbers lies off."""
        return float((np.abs(np.array(dataclasses.astuple(shape)) - self.centre) / self.spread).max())


def score(found: Mask, smaller: Bool[np.ndarray, "n m"], prior: Prior) -> float:
    """Returns how good a mask is in its own judgement, 0 to 1: a product, so that one fault is enough.

    Args:
      found: mask of the picture, averaged over its views.
      smaller: mask of the picture at `_SMALLER` of its size, brought back.
      prior: shapes of labelled masks.
    """
    shape = Shape.of(found.inside)
    if shape is None:
        return 0.0
    full = images.fit(images.of_mask(found.inside), *smaller.shape) > 127
    steady = min(found.agreement, found.expected, masks.iou(full, smaller))
    alone = 1.0 - min(1.0, found.second)
    # A hand leaves the picture with its forearm: a sixth of its circumference at most.
    border = 1.0 - max(0.0, min(1.0, (found.border - 1 / 6) * 4))
    likely = math.exp(-0.5 * max(0.0, prior.distance(shape) - 3.0))
    return steady * alone * border * likely


def mine(request: MiningRequest) -> list[dict[str, float]]:
    """Mines, or goes on mining, in the request's folder.

    Returns:
      The curve: for each round the masks trained on, those accepted, the IoU on the masks held out, and that on whole
      pictures where it is measured.

    Raises:
      UserError: for another task, masks that cannot be used, or a folder that holds another mining.
    """
    config, folder = request.config, request.folder
    if config.task.name != "segmentation":
        raise UserError(f"task.name: found {config.task.name!r}, expected 'segmentation'; use configs/segmentation.py")
    dataset = Dataset.open(pathlib.Path(config.data.dir).expanduser(), config.data.name)
    records = dataset.split(config.data.train_split)
    if request.correct and "mask" not in dataset.features:
        raise UserError(
            f"{dataset.path}: holds no 'mask' to correct by; leave --correct out and put masks that a person has "
            f"corrected into {folder / 'corrections'}"
        )
    _claim(request, dataset)
    _write_labels(request, records)
    given = set(_ids_in(folder / "labels"))
    shapes = [Shape.of(a.mask()) for a in drawn.read(folder / "labels")]
    prior = Prior.of(shape for shape in shapes if shape is not None)
    if request.reference:
        _reference(request)

    accepted: dict[str, pathlib.Path] = {}
    curve: list[dict[str, float]] = []
    for number in range(request.rounds):
        place = folder / "rounds" / str(number)
        if number:
            _correct(request, records, folder / "rounds" / str(number - 1))
        trained_on, by_hand = _write_training(request, place, accepted)
        train(_config_of(request, place), place / "run")
        if not (place / "scores.csv").exists():
            _predict_round(request, records, place, given, prior)
        before = set(accepted)
        accepted = _accepted(request, place)
        line: dict[str, float] = {
            "round": number,
            "by_hand": by_hand,
            "trained_on": trained_on,
            "accepted": len(accepted),
            "held_out": run_folder.best_score(place / "run"),
        }
        if request.measure:
            line["iou"] = _iou_of(request, place / "run")
        curve.append(line)
        write_text(folder / "curve.json", json.dumps(curve, indent=2) + "\n")
        mining_page.write(folder, records, place, curve, _scores(place), set(accepted))
        if not request.correct and len(accepted) - len(before) <= request.growth * max(len(before), 1):
            break
    return curve


def _claim(request: MiningRequest, dataset: Dataset) -> None:
    """Makes the folder this mining's, or checks that it is."""
    check_writable(request.folder)
    wanted = {
        "dataset": dataset.name,
        "fingerprint": dataset.fingerprint,
        "masks": str(request.masks or ""),
        "labelled": 0 if request.masks else request.labelled,
        "accept": request.accept,
        "correct": request.correct,
    }
    path = request.folder / "mining.json"
    if path.exists():
        before = {"correct": 0} | json.loads(path.read_text())
        differing = [
            f"{key}: found {before.get(key)!r} there, {wanted[key]!r} here"
            for key in wanted
            if before.get(key) != wanted[key]
        ]
        if differing:
            raise UserError(f"{request.folder}: holds another mining ({'; '.join(differing)}); choose another --out")
        return
    write_text(path, json.dumps(wanted, indent=2) + "\n")


def _write_labels(request: MiningRequest, records: Records) -> None:
    """Writes the labelled masks by id, a tenth of them apart."""
    folder, done = request.folder, request.folder / "labels.done"
    if done.exists():
        return
    numbers = records.numbers()
    if request.masks:
        given = drawn.paired([a for a in drawn.read(request.masks) if a.has_mask], records.images_of_split())
        given = {image_id: annotation for image_id, annotation in given.items() if image_id in numbers}
        ids = sorted(given)
    else:
        ids = sorted(numbers)[: request.labelled]
    if len(ids) < 10:
        raise UserError(
            f"{request.masks or 'labelled'}: found {len(ids)} labelled images of the split "
            f"{request.config.data.train_split!r}, expected at least 10, named by the images' ids"
        )
    step = round(1 / _HELD_OUT)
    for n, image_id in enumerate(ids):
        picture = records.image(numbers[image_id]) if request.masks else None
        mask = given[image_id].mask(picture.shape) if picture is not None else records.mask(numbers[image_id])
        mask_folder.write_one(image_id, mask, folder / ("held_out" if n % step == step - 1 else "labels"))
    (folder / "corrections").mkdir(exist_ok=True)
    if not (folder / "veto.txt").exists():
        write_text(folder / "veto.txt", "")
    write_text(done, f"{len(ids)}\n")


def _ids_in(folder: pathlib.Path) -> dict[str, pathlib.Path]:
    """The masks of a folder by the ids of their images, which may have folders."""
    return {path.relative_to(folder).as_posix().removesuffix(".png"): path for path in folder.rglob("*.png")}


def vetoed(folder: pathlib.Path) -> set[str]:
    """Returns the ids in `veto.txt`: one a line, what follows a `#` left out."""
    path = folder / "veto.txt"
    lines = path.read_text().splitlines() if path.exists() else []
    return {line.split("#")[0].strip() for line in lines} - {""}


def _correct(request: MiningRequest, records: Records, place: pathlib.Path) -> None:
    """Corrects the worst masks of a round by the images' own, in a person's place; keeps what people have drawn."""
    scores, forbidden = _scores(place), vetoed(request.folder)
    worst = sorted((image_id for image_id in scores if image_id not in forbidden), key=lambda one: (scores[one], one))
    target, numbers = request.folder / "corrections", records.numbers()
    for image_id in worst[: request.correct]:
        if not (target / f"{image_id}.png").exists():
            mask_folder.write_one(image_id, records.mask(numbers[image_id]), target)


def _write_training(request: MiningRequest, place: pathlib.Path, accepted: dict[str, pathlib.Path]) -> tuple[int, int]:
    """Puts the masks of a round together, once: given, then corrected, then accepted ones.

    Returns:
      Their number, and that of those that were drawn by hand.
    """
    drawn_by_hand: dict[str, pathlib.Path] = {}
    for folder in (request.folder / "corrections", request.folder / "labels"):
        drawn_by_hand |= _ids_in(folder)
    apart = _ids_in(request.folder / "held_out")
    for target, chosen in ((place / "by_hand", drawn_by_hand), (place / "train", accepted | drawn_by_hand)):
        if not target.exists():
            scratch = target.with_suffix(".part")
            shutil.rmtree(scratch, ignore_errors=True)
            scratch.mkdir(parents=True)
            for image_id, path in chosen.items():
                if image_id not in apart:
                    copy = scratch / f"{image_id}.png"
                    copy.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(path, copy)
            scratch.rename(target)
    return len(_ids_in(place / "train")), len(_ids_in(place / "by_hand"))


def _config_of(request: MiningRequest, place: pathlib.Path | None) -> ExperimentConfig:
    """The request's config with a round's masks to train on; None for the dataset's own."""
    data = dataclasses.replace(
        request.config.data,
        masks=str(place / "train") if place else "",
        # Accepted masks are the easy ones, and there are ever more of them: drawn ones keep half of the training.
        oversampled_masks=str(place / "by_hand") if place else "",
        eval_masks=str(request.folder / "held_out"),
        eval_split=request.config.data.train_split,
    )
    return dataclasses.replace(request.config, data=data)


def _predict_round(
    request: MiningRequest,
    records: Records,
    place: pathlib.Path,
    given: set[str],
    prior: Prior,
) -> None:
    """Predicts and scores every image that has no mask by hand."""
    loaded = run_folder.load(place / "run")
    skipped = given.union(_ids_in(request.folder / "held_out"), _ids_in(request.folder / "corrections"))
    ids = records.ids()
    numbers = [n for n, image_id in enumerate(ids) if image_id not in skipped]
    rows: list[tuple[str, float, Mask]] = []
    batches = [[numbers[n] for n in batch] for batch in parallel.in_batches(len(numbers), _BATCH)]
    with (
        concurrent.futures.ThreadPoolExecutor(_THREADS) as pool,
        parallel.progress_of(total=len(numbers), label=f"round {place.name}: scoring masks") as bar,
    ):
        segmenter = Segmenter(loaded, pool, batch_size=_BATCH)
        for batch, decoded in parallel.read_ahead(records.image, batches):
            for n, (found, value) in zip(batch, _scored(segmenter, decoded, prior), strict=True):
                mask_folder.write_one(ids[n], found.inside, place / "masks")
                rows.append((ids[n], value, found))
            bar.update(len(batch))
    with replacing(place / "scores.csv") as scratch, scratch.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "score", "agreement", "second", "border", "area"])
        for image_id, value, found in rows:
            numbers_shown = (value, found.agreement, found.second, found.border, found.area)
            writer.writerow([image_id, *(f"{x:.5f}" for x in numbers_shown)])


def _scored(segmenter: Segmenter, pictures: Sequence[Grey], prior: Prior) -> list[tuple[Mask, float]]:
    """Each picture's mask and score."""
    inputs = segmenter.inputs(pictures)
    found = segmenter.masks(pictures, inputs)
    network = segmenter.network
    height, width = network.size
    border = (1 / _SMALLER - 1) / 2
    shrink = Similarity.framing(
        (-border * height, (1 + border) * height), (-border * width, (1 + border) * width), height, width
    )
    small = [images.warp(framed.image, shrink, height, width) for framed in inputs]
    (maps,) = network(small, flips=False)
    scores = []
    for mask, seen in zip(found, maps, strict=True):
        back = cv2.warpAffine(seen, shrink.inverse().matrix, (width, height), flags=cv2.INTER_LINEAR)
        scores.append(score(mask, back > 0.5, prior))
    return list(zip(found, scores, strict=True))


def _scores(place: pathlib.Path) -> dict[str, float]:
    with (place / "scores.csv").open(newline="") as file:
        return {row["id"]: float(row["score"]) for row in csv.DictReader(file)}


def _accepted(request: MiningRequest, place: pathlib.Path) -> dict[str, pathlib.Path]:
    """Masks that are good enough and not forbidden."""
    forbidden = vetoed(request.folder)
    return {
        image_id: place / "masks" / f"{image_id}.png"
        for image_id, value in _scores(place).items()
        if value >= request.accept and image_id not in forbidden
    }


def _iou_of(request: MiningRequest, trained: pathlib.Path) -> float:
    """Mean IoU on the measuring split's own masks; kept beside the run."""
    path = trained / "measured.json"
    if not path.exists():
        loaded = run_folder.load(trained)
        data = request.config.data
        records = Dataset.open(pathlib.Path(data.dir).expanduser(), data.name).split(request.measure)
        values = []
        with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
            segmenter = Segmenter(loaded, pool, batch_size=_BATCH)
            for batch, decoded in parallel.read_ahead(records.image, parallel.in_batches(len(records), _BATCH)):
                found = segmenter.masks(decoded)
                values += [masks.iou(one.inside, records.mask(n)) for one, n in zip(found, batch, strict=True)]
        write_text(path, json.dumps({"split": request.measure, "iou": float(np.mean(values))}) + "\n")
    return float(json.loads(path.read_text())["iou"])


def _reference(request: MiningRequest) -> None:
    """Trains on all masks of the dataset, and measures it."""
    place = request.folder / "reference"
    train(_config_of(request, None), place / "run")
    if request.measure:
        write_text(request.folder / "reference.json", json.dumps({"iou": _iou_of(request, place / "run")}) + "\n")


def best_of(curve: Sequence[Mapping[str, float]]) -> int:
    """Returns the round that does best on the masks that are held out: more masks of its own can do a network harm."""
    return int(max(curve, key=lambda line: line["held_out"])["round"])


def as_text(request: MiningRequest, curve: list[dict[str, float]]) -> str:
    """Returns the curve for people, and where everything lies."""
    lines = [", ".join(f"{key.replace('_', ' ')} {value:.4g}" for key, value in line.items()) for line in curve]
    reference = request.folder / "reference.json"
    if reference.exists():
        lines.append(f"trained on all masks: IoU {json.loads(reference.read_text())['iou']:.4g}")
    rounds = request.folder / "rounds"
    best, last = rounds / str(best_of(curve)), rounds / str(int(curve[-1]["round"]))
    lines += [
        f"network  {best / 'run'}, the best of {len(curve)} on the masks held out",
        f"page     {last / 'round.html'}",
        f"masks    {best / 'masks'}",
    ]
    return "\n".join(lines)
