"""Commands about age models: training and scoring, the paper's table, importance of bones."""

from __future__ import annotations

import argparse
import dataclasses
import os
import pathlib

from boneage_jax.analysis.request import EvaluateRequest
from boneage_jax.cli.options import command
from boneage_jax.distributed.request import ProcessesRequest
from boneage_jax.importance.request import ImportanceRequest
from boneage_jax.options import add_options, option, request_of
from boneage_jax.paper.request import PaperRequest


@dataclasses.dataclass(frozen=True)
class TrainOptions:
    """Where a run goes."""

    run: pathlib.Path = option(help="folder of the run")


@dataclasses.dataclass(frozen=True)
class PaperOptions(PaperRequest):
    """What to train and score, or only to list."""

    dry_run: bool = option(False, "list experiments, costs and what is done; train nothing")


def add(commands: argparse._SubParsersAction) -> None:
    """Declares them."""
    train = command(
        commands,
        "train",
        _train,
        summary="train a model, or go on training it: the same command resumes",
        example="boneage train --config=configs/tiny.py --run=runs/tiny\n"
        "boneage train --config=configs/m46.py --run=runs/m46 --config.train.batch_size=128\n\n"
        "exit status: 0 done, 2 bad input, 3 the loss is not finite,\n"
        "75 stopped by SIGTERM or SIGUSR1 and saved: start the same command again,\n"
        "76 another process of the run has ended",
        request=TrainOptions,
        takes_config=True,
    )
    several = train.add_argument_group(
        "several processes", "detected under Slurm and in TPU pods; elsewhere give the first three options"
    )
    add_options(several, ProcessesRequest)
    command(
        commands,
        "evaluate",
        _evaluate,
        summary="score a run on a split: table, JSON, CSV, page",
        example="boneage evaluate runs/tiny --split test\n"
        "boneage evaluate /shared/runs/tiny --split test --out results --report\n"
        "boneage evaluate runs/tiny --by stage --by age                        # errors by group, with intervals\n"
        "boneage evaluate runs/fine-0 --split validation --by scanner --table scanners.csv",
        request=EvaluateRequest,
    )
    command(
        commands,
        "paper",
        _paper,
        summary="train and score the paper's table: models, heads, regions, sexes; ensembles; errors by stage",
        example="boneage paper --out paper --tiny --experiments 'm46-*'    # on phantoms, each experiment a minute\n"
        "boneage paper --out paper --dry-run                       # what there is to do, and what it costs\n"
        "boneage paper --out paper --dataset registered_hands/rsna_bone_age-full --data data\n"
        "boneage paper --out half --dataset registered_hands/rsna_bone_age-full --half --test validation\n"
        "boneage paper --out folds --dataset registered_hands/rsna_bone_age-full --folds 5 --experiments 'm46-*-all'\n"
        "boneage paper --out paper --experiments 'm46-*-all' --beside runs/best-0 --beside runs/best-1\n\n"
        "the same command goes on where it was cut short",
        request=PaperOptions,
    )
    command(
        commands,
        "importance",
        _importance,
        summary="which bones and regions an age network rests on, and how faithful each attribution method is",
        example="boneage importance runs/tiny --out importance\n"
        "boneage importance runs/tiny --dataset hand_phantom/tiny --split test --images 60 --filling mean --out i\n"
        "boneage importance paper/runs/m46-regression-A-all --beside paper/runs/m46-regression-B-all \\\n"
        "    --beside paper/runs/m46-regression-C-all --out importance\n\n"
        "the same command goes on where it was cut short",
        request=ImportanceRequest,
    )


def _train(options: argparse.Namespace, config_arguments: list[str]) -> None:
    from boneage_jax.config import loading

    config = loading.load(config_arguments)
    from boneage_jax.distributed import processes
    from boneage_jax.train.loop import train

    several = request_of(ProcessesRequest, options)
    world = processes.World.of(
        several.distributed,
        coordinator=several.coordinator,
        count=several.processes,
        index=several.process,
        wait=several.wait,
        environment=os.environ,
    )
    with processes.joined(world):
        result = train(config, request_of(TrainOptions, options).run)
        if processes.is_process_zero():
            print(result.summary())


def _evaluate(options: argparse.Namespace, _: list[str]) -> None:
    from boneage_jax.analysis import commands

    print(commands.run(request_of(EvaluateRequest, options)))


def _paper(options: argparse.Namespace, _: list[str]) -> None:
    from boneage_jax.paper import page, plan, results

    request = request_of(PaperOptions, options)
    if request.dry_run:
        print(plan.dry_run(request))
        return
    print(page.as_text(page.write(results.results(request), request.out)))


def _importance(options: argparse.Namespace, _: list[str]) -> None:
    from boneage_jax import parallel
    from boneage_jax.importance import page, study

    request = request_of(ImportanceRequest, options, workers=parallel.default_workers())
    print(page.as_text(page.write(study.study(request))))
