"""The commands that are disturbed: what each is given, what it writes, what of it is finished work.

Every command runs in a folder of its own with paths below it, and writes to `out`: so results of two folders can be
held against each other byte by byte, and `out` can be a file system of its own.
"""

from __future__ import annotations

import dataclasses
import pathlib
import shutil
from collections.abc import Callable, Mapping

from tests import rsna_layouts

HANDS, RADIOGRAPHS = "hand_phantom/tiny_24-8-8", "hand_phantom/raw_tiny_14-3-3"

SMALLEST = {
    "data.dir": "data",
    "model.kernels": "plain",
    "train.batch_size": 8,
    "eval.batch_size": 8,
    "log.every": "1 steps",
    "log.tensorboard": False,
}
"""Settings of every training here."""

AGES = {
    **SMALLEST,
    "data.name": HANDS,
    "data.height": 48,
    "data.width": 36,
    "model.widths": "(4, 8)",
    "model.dense": "(8,)",
    "train.length": "8 steps",
    "eval.every": "4 steps",
    "checkpoint.every": "2 steps",
}


@dataclasses.dataclass(frozen=True)
class Scenario:
    """A command that is disturbed.

    Attributes:
      name: of it.
      arguments: of `boneage`.
      needs: scenarios whose results it reads, each with the name of the folder that they are copied to.
      prepare: puts what else it reads into its folder; may start JAX.
      finished: patterns below `out`: files and folders that are finished work, which no second start does again.
      grain: the most that is done again after an interruption, for people.
      names: patterns of names that stand below `out` only while something is written.
      damaged: patterns below the command's folder of files that are damaged once it has ended.
      damaged_between: those that are damaged between an interruption and the next start.
      lost_with_it: patterns of records that nothing can make again once they are damaged.
      incomparable: patterns of files whose content is of this one execution, besides `compare.EXECUTION`.
      has_workers: whether it has processes of its own.
    """

    name: str
    arguments: tuple[str, ...]
    needs: Mapping[str, str] = dataclasses.field(default_factory=dict)
    prepare: Callable[[pathlib.Path], None] = lambda place: None
    finished: tuple[str, ...] = ()
    grain: str = "all"
    names: tuple[str, ...] = ()
    damaged: tuple[str, ...] = ()
    damaged_between: tuple[str, ...] = ()
    lost_with_it: tuple[str, ...] = ()
    incomparable: tuple[str, ...] = ()
    has_workers: bool = False


def _config(settings: Mapping[str, object], file: str = "configs/tiny.py") -> tuple[str, ...]:
    return (f"--config={file}", *(f"--config.{key}={value}" for key, value in settings.items()))


def _sweep(place: pathlib.Path) -> None:
    """A grid of two trials."""
    fixed = {key: value for key, value in AGES.items() if key not in ("model.widths", "model.dense")}
    (place / "sweep.py").write_text(
        "from boneage_jax.sweeps.space import Sweep, choice\n\n\ndef get_sweep():\n"
        f"    fixed = {{'model.widths': (4, 8), 'model.dense': (8,), **{fixed!r}}}\n"
        "    space = {'optimizer.learning_rate': choice(0.001, 0.002)}\n"
        "    return Sweep(config='configs/tiny.py', fixed=fixed, space=space, sampler='grid', pruner='NopPruner')\n"
    )


def _download(place: pathlib.Path) -> None:
    """A small download in the layout of the challenge."""
    train, validation, test = (rsna_layouts.children(n, start) for n, start in ((40, 1377), (6, 1517), (4, 4360)))
    rsna_layouts.official(place / "rsna", train, validation, test)


def _radiographs(place: pathlib.Path) -> None:
    """Five radiographs, as files."""
    from boneage_jax.api import phantoms
    from boneage_jax.data import images

    (place / "in").mkdir()
    for n in range(5):
        hand = phantoms.phantom(60 + 20 * n, "F", n, view="raw", size=(260, 208))
        (place / "in" / f"{n}.png").write_bytes(images.encode(hand.image, "png"))


_CHECKPOINTS = "checkpoints/[0-9]*"
_SAVED = "checkpoints/[0-9]*/arrays/d/*"
_BUILDING = ("**/incomplete.*", "**/*.part")
_SAVING = ("**/*orbax-checkpoint-tmp*", "**/*.part")

SCENARIOS = (
    Scenario(
        "data build",
        ("data", "build", HANDS.partition("_2")[0], "--counts=24,8,8", "--out=out", "--workers=1"),
        grain="all: a dataset is built whole or not at all",
        finished=("*/*/*/dataset_info.json",),
        names=_BUILDING,
        damaged=("out/*/*/*/dataset_info.json", "out/*/*/*/labels.json", "out/*/*/*/features.json"),
    ),
    Scenario(
        "data build rsna",
        ("data", "build", "rsna_bone_age", "--from=rsna", "--out=out", "--workers=2"),
        prepare=_download,
        grain="all: a dataset is built whole or not at all",
        finished=("*/*/*/dataset_info.json",),
        names=_BUILDING,
        incomparable=("rsna_bone_age/*/*/metadata.json",),  # holds the digest of a download made anew, with its times
        has_workers=True,
    ),
    Scenario(
        "radiographs",
        ("data", "build", RADIOGRAPHS.partition("_1")[0], "--counts=14,3,3", "--out=out", "--workers=1"),
    ),
    Scenario(
        "register",
        (
            *("register", RADIOGRAPHS, "--segmentation=phantom_only", "--landmarks=phantom_only", "--data=data"),
            *("--out=out", "--views=1", "--coarse-only", "--regions=whole@130x100", "--batch-size=7"),
        ),
        needs={"radiographs": "data"},
        grain="a part of 64 images",
        finished=("registered_hands/.*/*.npz", "registered_hands/*/*/dataset_info.json"),
        names=_BUILDING,
        damaged=("out/registered_hands/*/*/registered.json", "out/registered_hands/*/*/flags.csv"),
        damaged_between=("out/registered_hands/.*/*.npz",),
    ),
    Scenario(
        "mine",
        (
            *("mine", "--labelled=10", "--rounds=2", "--accept=0", "--out=out"),
            *_config(
                {
                    **SMALLEST,
                    "data.name": RADIOGRAPHS,
                    "data.height": 64,
                    "data.width": 64,
                    "model.widths": "(4, 8)",
                    "train.length": "4 steps",
                    "eval.every": "2 steps",
                    "checkpoint.every": "1 steps",
                },
                "configs/segmentation.py:tiny",
            ),
        ),
        needs={"radiographs": "data"},
        grain="a step between two checkpoints, or the prediction of a round's masks",
        finished=(f"rounds/*/run/{_CHECKPOINTS}", "rounds/*/scores.csv", "labels.done"),
        names=_SAVING,
        damaged_between=("out/mining.json", "out/rounds/0/scores.csv", "out/rounds/0/run/config.json"),
    ),
    Scenario(
        "train",
        ("train", *_config(AGES), "--run=out"),
        needs={"data build": "data"},
        grain="the steps since the last checkpoint, of which there is one every two steps",
        finished=(_CHECKPOINTS,),
        names=_SAVING,
        damaged=(
            f"out/{_SAVED}",
            "out/checkpoints/[0-9]*/arrays/_METADATA",
            "out/checkpoints/[0-9]*/about/metadata",
            "out/config.json",
        ),
        damaged_between=("out/metrics.jsonl", "data/*/*/*/*train.array_record*", "data/*/*/*/dataset_info.json"),
        lost_with_it=("metrics.jsonl",),
    ),
    Scenario(
        "sweep",
        ("sweep", "start", "sweep.py", "--out=out", "--lease=3"),
        needs={"data build": "data"},
        prepare=_sweep,
        grain="the steps since the last checkpoint of a trial",
        finished=(f"trials/*/{_CHECKPOINTS}",),
        names=_SAVING,
        has_workers=True,
        damaged_between=("out/study.log", "out/sweep.json", "out/claims/0000.json", "out/trials/0000/config.json"),
        incomparable=("study.log", "claims/*", "logs/*"),
    ),
    Scenario(
        "paper",
        (
            *("paper", f"--dataset={HANDS}", "--data=data", "--tiny", "--out=out"),
            "--experiments=m46-regression-A-all,m46-regression-A-male,m46-regression-A-female",
            *(
                f"--set={key}={value}"
                for key, value in {**AGES, "train.length": "4 steps", "eval.every": "2 steps"}.items()
                if key not in ("data.dir", "data.name")
            ),
            "--set=data.regions=",
        ),
        needs={"data build": "data"},
        grain="the steps since the last checkpoint of a run, or one evaluation",
        finished=(f"runs/*/{_CHECKPOINTS}", "runs/*/evaluation/*/*/scores.json"),
        names=_SAVING,
        damaged=(
            "out/runs/*/evaluation/*/*/scores.json",
            "out/runs/*/evaluation/*/*/predictions.csv",
            f"out/runs/m46-regression-A-all/{_SAVED}",
        ),
    ),
    Scenario(
        "importance",
        ("importance", "run", "--out=out", "--images=8", "--methods=occlusion,grad-cam", "--batch-size=4"),
        needs={"train": "run", "data build": "data"},
        grain="one method's result",
        finished=("work/*/*.npz",),
        names=("**/*.part",),
        damaged=("out/work/*/*.npz",),
    ),
    Scenario(
        "assess",
        (
            *("assess", "in", "--sex=F", "--bundle=phantom_only", "--views=1", "--batch-size=2", "--force"),
            "--out=out",
        ),
        prepare=_radiographs,
        grain="a batch of radiographs",
        names=("**/*.part",),
        damaged=("out/ages.json",),
        damaged_between=("out/journal.jsonl",),
        incomparable=("journal.jsonl",),
    ),
)

BY_NAME = {one.name: one for one in SCENARIOS}


def lay_out(scenario: Scenario, place: pathlib.Path, undisturbed: Callable[[str], pathlib.Path]) -> None:
    """Makes a command's folder with what it reads.

    Args:
      scenario: the command.
      place: of the folder, which is made anew.
      undisturbed: returns the folder in which a scenario ran undisturbed.
    """
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    for name, copied_to in scenario.needs.items():
        shutil.copytree(undisturbed(name) / "out", place / copied_to)
