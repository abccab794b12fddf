"""Commands about age models: training and scoring, the paper's table, importance of bones."""

from __future__ import annotations

import argparse
import os
import pathlib

from boneage_jax.cli.options import command, count, names, path, positive


def add(commands: argparse._SubParsersAction) -> None:
    """Declares them."""
    train = command(
        commands,
        "train",
        _train,
        "train a model, or go on training it: the same command resumes",
        "boneage train --config=configs/tiny.py --run=runs/tiny\n"
        "boneage train --config=configs/m46.py --run=runs/m46 --config.train.batch_size=128\n\n"
        "exit status: 0 done, 2 bad input, 3 the loss is not finite,\n"
        "75 stopped by SIGTERM or SIGUSR1 and saved: start the same command again,\n"
        "76 another process of the run has ended",
        takes_config=True,
    )
    train.add_argument("--run", type=path, required=True, help="folder of the run")
    several = train.add_argument_group(
        "several processes", "found by themselves under Slurm and in TPU pods; elsewhere all three numbers are given"
    )
    several.add_argument("--coordinator", default="", metavar="HOST:PORT", help="where process 0 listens")
    several.add_argument("--processes", type=positive, default=0, help="how many there are")
    several.add_argument("--process", type=count, default=-1, help="which one this is, from 0")
    several.add_argument(
        "--distributed",
        choices=("auto", "on", "off"),
        default="auto",
        help="whether to look for others: where the environment speaks of them, always, never (default: auto)",
    )
    several.add_argument(
        "--wait", type=positive, default=300, help="seconds to wait for the others at the start (default: 300)"
    )

    evaluate = command(
        commands,
        "evaluate",
        _evaluate,
        "score a run on a split: table, JSON, CSV, page",
        "boneage evaluate runs/tiny --split test\n"
        "boneage evaluate /shared/runs/tiny --split test --out results --report",
    )
    evaluate.add_argument("run", type=path, help="folder of the run")
    evaluate.add_argument("--split", default="test", help="split, in TFDS's notation (default: test)")
    evaluate.add_argument("--data", type=path, help="folder of built datasets (default: the one trained from)")
    evaluate.add_argument("--dataset", default="", help="dataset (default: the one trained on)")
    evaluate.add_argument("--step", type=positive, help="checkpoint (default: the best by evaluation MAE)")
    evaluate.add_argument(
        "--test-time", action="store_true", help="average over slightly turned and zoomed pictures; for ages"
    )
    evaluate.add_argument(
        "--out", type=path, help="folder for table, JSON, CSV and page (default: evaluation/ in the run's)"
    )
    evaluate.add_argument("--report", action="store_true", help="write report.html beside the scores too")

    paper = command(
        commands,
        "paper",
        _paper,
        "train and score the paper's table: models, heads, regions, sexes; ensembles; errors by stage",
        "boneage paper --out paper --tiny --experiments 'm46-*'          # on phantoms, each experiment a minute\n"
        "boneage paper --out paper --dry-run                       # what there is to do, and what it costs\n"
        "boneage paper --out paper --dataset registered_hands/rsna_bone_age-full --data data\n"
        "boneage paper --out folds --dataset registered_hands/rsna_bone_age-full --folds 5 --experiments 'm46-*-all'\n"
        "boneage paper --out paper --experiments 'm46-*-all' --beside runs/best-0 --beside runs/best-1\n\n"
        "the same command goes on where it was cut short",
        takes_config=False,
    )
    paper.add_argument("--out", type=path, required=True, help="folder for runs, tables and page")
    paper.add_argument(
        "--data", type=path, default=pathlib.Path("data"), help="folder of built datasets (default: data)"
    )
    paper.add_argument(
        "--dataset", default="hand_phantom/registered", help="registered hands (default: hand_phantom/registered)"
    )
    paper.add_argument("--experiments", type=names, default=(), help="as in 'm46-*-A-all,resnet50-*' (default: all 36)")
    paper.add_argument("--tiny", action="store_true", help="train the experiments' tiny twins")
    paper.add_argument("--validation", default="validation", help="split that ensembles are fitted on")
    paper.add_argument("--test", default="test", help="split that is reported")
    paper.add_argument(
        "--folds",
        type=count,
        default=0,
        help="cross-validation: train each experiment so often, report the training split",
    )
    paper.add_argument("--patients", type=path, help="with --folds: CSV of image and patient, dealt together")
    paper.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="setting of every experiment's config"
    )
    paper.add_argument(
        "--beside",
        type=path,
        action="append",
        default=[],
        metavar="RUN",
        help="run of another age model, scored beside the experiments and part of the ensembles; or several",
    )
    paper.add_argument("--dry-run", action="store_true", help="list experiments, costs and what is done; train nothing")

    importance = command(
        commands,
        "importance",
        _importance,
        "which bones and regions an age network rests on, and how far each method of asking can be believed",
        "boneage importance runs/tiny --out importance\n"
        "boneage importance runs/tiny --dataset hand_phantom/tiny --split test --images 60 --filling mean --out i\n"
        "boneage importance paper/runs/m46-regression-A-all --beside paper/runs/m46-regression-B-all \\\n"
        "    --beside paper/runs/m46-regression-C-all --out importance\n\n"
        "the same command goes on where it was cut short",
    )
    importance.add_argument("run", type=path, help="folder of an age network's run")
    importance.add_argument("--out", type=path, required=True, help="folder for tables, pictures and page")
    importance.add_argument("--data", type=path, help="folder of built datasets (default: the run's)")
    importance.add_argument("--dataset", default="", help="phantoms or registered hands (default: the run's)")
    importance.add_argument("--split", default="test", help="split, in TFDS's notation (default: test)")
    importance.add_argument(
        "--images", type=positive, default=200, help="at most so many, spread over the ages (default: 200)"
    )
    importance.add_argument(
        "--filling",
        choices=("other", "mean", "blur", "black"),
        default="other",
        help="what a part is replaced by: another child's, the mean of all, its own blurred, black (default: other)",
    )
    importance.add_argument(
        "--beside", type=path, action="append", default=[], help="run that sees another region; or several"
    )
    importance.add_argument("--batch-size", type=positive, default=32, help="images at once (default: 32)")
    importance.add_argument("--seed", type=count, default=0, help="of fillings and noise (default: 0)")


def _train(options: argparse.Namespace, config_arguments: list[str]) -> None:
    from boneage_jax.config import loading

    config = loading.load(config_arguments)
    from boneage_jax.distributed import processes
    from boneage_jax.train.loop import train

    world = processes.World.of(
        options.distributed, options.coordinator, options.processes, options.process, options.wait, os.environ
    )
    with processes.joined(world):
        result = train(config, options.run)
        if processes.is_process_zero():
            print(result.summary())


def _evaluate(options: argparse.Namespace, _: list[str]) -> None:
    from boneage_jax.analysis import evaluate, per_image, report
    from boneage_jax.runs import run_folder

    loaded = run_folder.load(options.run, step=options.step)
    where = {"split": options.split, "data_dir": options.data, "dataset": options.dataset, "out": options.out}
    if not loaded.task.needs_age:
        print(f"checkpoint of {loaded.chosen}\n{per_image.score(loaded, **where).as_text()}")
        return
    result = evaluate.evaluate(loaded, test_time=options.test_time, **where)
    if options.report:
        report.write(result, loaded, result.folder / "report.html")
    print(f"checkpoint of {loaded.chosen}\n{evaluate.as_text(result)}\n")
    print(f"table, JSON and predictions lie in {result.folder}")


def _paper(options: argparse.Namespace, _: list[str]) -> None:
    from boneage_jax.paper import page, plan, results

    request = plan.PaperRequest(
        options.out,
        options.data,
        options.dataset,
        options.experiments,
        tiny=options.tiny,
        overrides=tuple(f"--config.{setting}" for setting in options.set),
        validation=options.validation,
        test=options.test,
        folds=options.folds,
        patients=options.patients,
        beside=tuple(options.beside),
    )
    if options.dry_run:
        print(plan.dry_run(request))
        return
    print(page.as_text(page.write(results.results(request), options.out)))


def _importance(options: argparse.Namespace, _: list[str]) -> None:
    from boneage_jax import parallel
    from boneage_jax.importance import page, study

    request = study.ImportanceRequest(
        options.run,
        options.out,
        options.data,
        options.dataset,
        options.split,
        options.images,
        options.filling,
        tuple(options.beside),
        options.batch_size,
        parallel.default_workers(),
        options.seed,
    )
    print(page.as_text(page.write(study.study(request))))
