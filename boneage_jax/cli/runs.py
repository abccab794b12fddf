"""Commands about many runs: what they cost, searches over settings, how errors fall."""

from __future__ import annotations

import argparse
import dataclasses
import pathlib
from typing import TYPE_CHECKING

from boneage_jax.cli.options import command
from boneage_jax.options import option, request_of
from boneage_jax.planning.request import PlanRequest
from boneage_jax.scaling.request import LearningCurveRequest, ScalingRequest
from boneage_jax.sweeps.request import ResumeRequest, StartRequest, SweepRequest, WorkRequest

if TYPE_CHECKING:
    from boneage_jax.sweeps.study import Folder


@dataclasses.dataclass(frozen=True)
class PlanOptions(PlanRequest):
    """What to plan, and where to keep it."""

    json: pathlib.Path | None = option(None, "write it as JSON too")


@dataclasses.dataclass(frozen=True)
class ScalingOptions(ScalingRequest):
    """Which runs to train, or only to list."""

    dry_run: bool = option(False, "list runs, sizes and costs; train nothing")


@dataclasses.dataclass(frozen=True)
class LearningCurveOptions(LearningCurveRequest):
    """Which runs to train, or only to list."""

    dry_run: bool = option(False, "list runs and their steps; train nothing")


def add(commands: argparse._SubParsersAction) -> None:
    """Declares them."""
    command(
        commands,
        "plan",
        _plan,
        summary="estimate the memory, time and chip-hours of a run; nothing is run",
        example="boneage plan --config=configs/m46.py --config.model.dtype=bfloat16 --topology v5e:16x16 "
        "--batch-a-chip 128\n"
        "boneage plan --config=configs/tiny.py            # for the devices of this machine\n\n"
        "--topology needs the extra tpu, on any machine; each compilation takes minutes",
        request=PlanOptions,
        takes_config=True,
    )
    command(
        commands,
        "scaling",
        _scaling,
        summary="how the error falls with images, weights and compute: train a grid of runs and fit the law",
        example="boneage scaling --config=configs/tiny.py --images 250,500,1000,2000 --widths 0.5,1,2 --out scaling\n"
        "boneage scaling --config=configs/m46.py --images 1500,3000,6000,12000 --widths 0.25,0.5,1 \\\n"
        "    --depths 4,5,6 --scales 0.5,1 --batches 32,64,128 --seeds 3 --out scaling --dry-run\n\n"
        "the same command goes on where it was cut short",
        request=ScalingOptions,
        takes_config=True,
    )
    command(
        commands,
        "learning-curve",
        _learning_curve,
        summary="what a start is worth in labelled images: runs from several starts on more and more images",
        example="boneage learning-curve --config=configs/finetune.py --starts random,phantom_only:age0 \\\n"
        "    --config.data.name=registered_hands/rsna_bone_age-full --images 0,50,100,300,1000,3000 --out curve\n"
        "boneage learning-curve --config=configs/finetune.py:tiny --config.train.length='2 epochs' \\\n"
        "    --starts random,phantom_only:age0 --images 0,40,80,160 --seeds 1 --least-steps 20 --out curve\n\n"
        "the first start is what the others are compared with; the same command goes on where it was cut short",
        request=LearningCurveOptions,
        takes_config=True,
    )
    sweep = commands.add_parser("sweep", help="search over settings: start, watch, go on, report")
    sweep_commands = sweep.add_subparsers(required=True, metavar="COMMAND")
    command(
        sweep_commands,
        "sweep start",
        _sweep_start,
        summary="start a search, or go on with it: each trial is an ordinary run",
        example="boneage sweep start configs/sweeps/tiny.py --out sweeps/tiny --workers 2\n"
        "boneage sweep start configs/sweeps/grid.py --out sweeps/grid --workers 0    # workers come by launch/\n"
        "boneage sweep start configs/sweeps/grid.py --out sweeps/grid --storage postgresql://user@host/boneage",
        request=StartRequest,
    )
    command(
        sweep_commands,
        "sweep resume",
        _sweep_resume,
        summary="go on with a search where it was left",
        example="boneage sweep resume sweeps/tiny --workers 2",
        request=ResumeRequest,
    )
    command(
        sweep_commands,
        "sweep work",
        _sweep_work,
        summary="work as one worker: what start, resume and jobs of launch/ run",
        example="boneage sweep work sweeps/tiny",
        request=WorkRequest,
    )
    for name, run_command, summary in (
        ("status", _sweep_status, "show the state of all trials"),
        ("best", _sweep_best, "name the best trial and how to train it again"),
        ("report", _sweep_report, "write the page: parallel coordinates, importance of settings, all trials"),
    ):
        command(
            sweep_commands,
            f"sweep {name}",
            run_command,
            summary=summary,
            example=f"boneage sweep {name} sweeps/tiny",
            request=SweepRequest,
        )


def _plan(options: argparse.Namespace, config_arguments: list[str]) -> None:
    import json

    from boneage_jax.config import loading
    from boneage_jax.files import write_text
    from boneage_jax.planning import plan

    request = request_of(PlanOptions, options, config=loading.load(config_arguments))
    found = plan.plan(request)
    print(plan.as_text(found))
    if request.json:
        write_text(request.json, json.dumps(plan.as_dict(found), indent=2) + "\n")


def _scaling(options: argparse.Namespace, config_arguments: list[str]) -> None:
    from boneage_jax.config import loading
    from boneage_jax.scaling import page, study

    request = request_of(ScalingOptions, options, config=loading.load(config_arguments))
    if request.dry_run:
        study.check(request)
        print(study.as_text(request, study.plan(request)))
        return
    found = study.study(request)
    page.write(found)
    print(page.as_text(found))


def _learning_curve(options: argparse.Namespace, config_arguments: list[str]) -> None:
    from boneage_jax.config import loading
    from boneage_jax.scaling import learning_curve, learning_curve_page

    request = request_of(LearningCurveOptions, options, config=loading.load(config_arguments))
    if request.dry_run:
        print(learning_curve.plan_as_text(learning_curve.plan(request)))
        return
    print(learning_curve_page.write(learning_curve.learning_curve(request)))


def _sweep_start(options: argparse.Namespace, _: list[str]) -> int:
    from boneage_jax.sweeps import commands

    request = request_of(StartRequest, options)
    return _sweep_run(commands.make(str(request.sweep), request.out, request.storage), request)


def _sweep_resume(options: argparse.Namespace, _: list[str]) -> int:
    from boneage_jax.sweeps.study import Folder

    request = request_of(ResumeRequest, options)
    return _sweep_run(Folder.open(request.sweep), request)


def _sweep_run(folder: Folder, request: ResumeRequest) -> int:
    from boneage_jax.sweeps import commands

    status = commands.run_workers(folder, request.workers, request.gpus, request.lease)
    print(f"{commands.status(folder)}\nthe sweep lies in {folder.path}\nnext: {commands.next_step(folder)}")
    return status


def _sweep_work(options: argparse.Namespace, _: list[str]) -> int:
    from boneage_jax.sweeps import commands

    return commands.work(_folder(options), request_of(WorkRequest, options).lease)


def _sweep_status(options: argparse.Namespace, _: list[str]) -> None:
    from boneage_jax.sweeps import commands

    print(commands.status(_folder(options)))


def _sweep_best(options: argparse.Namespace, _: list[str]) -> None:
    from boneage_jax.sweeps import commands

    print(commands.best(_folder(options)))


def _sweep_report(options: argparse.Namespace, _: list[str]) -> None:
    from boneage_jax.sweeps import report

    print(report.write(_folder(options)))


def _folder(options: argparse.Namespace) -> Folder:
    from boneage_jax.sweeps.study import Folder

    return Folder.open(request_of(SweepRequest, options).sweep)
