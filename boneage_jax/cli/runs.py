"""Commands about many runs: what they cost, searches over settings, how errors fall."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from boneage_jax.cli.options import command, count, factors, path, positive, seconds, wholes

if TYPE_CHECKING:
    from boneage_jax.sweeps.study import Folder


def add(commands: argparse._SubParsersAction) -> None:
    """Declares them."""
    plan = command(
        commands,
        "plan",
        _plan,
        "say what a run will cost in memory, time and chip-hours, before it is paid for; nothing is run",
        "boneage plan --config=configs/m46.py --config.model.dtype=bfloat16 --topology v5e:16x16 --batch-a-chip 128\n"
        "boneage plan --config=configs/tiny.py            # for the devices of this machine\n\n"
        "--topology needs the extra tpu, on any machine; each compilation takes minutes",
        takes_config=True,
    )
    plan.add_argument("--topology", default="", help="slice of TPUs, as in v5e:16x16 (default: the devices here)")
    plan.add_argument("--batch-a-chip", type=positive, default=0, help="images a chip (default: the config's batch)")
    plan.add_argument("--images", type=positive, default=0, help="of the training split (default: the dataset's)")
    plan.add_argument("--no-largest", action="store_true", help="do not look for the largest batch that fits")
    plan.add_argument("--no-scaling", action="store_true", help="do not compile for a single chip to compare with")
    plan.add_argument("--json", type=path, help="write it as JSON too")

    scaling = command(
        commands,
        "scaling",
        _scaling,
        "how the error falls with images, weights and compute: train a grid of runs and fit the law",
        "boneage scaling --config=configs/tiny.py --images 250,500,1000,2000 --widths 0.5,1,2 --out scaling\n"
        "boneage scaling --config=configs/m46.py --images 1500,3000,6000,12000 --widths 0.25,0.5,1 \\\n"
        "    --depths 4,5,6 --scales 0.5,1 --batches 32,64,128 --seeds 3 --out scaling --dry-run\n\n"
        "the same command goes on where it was cut short",
        takes_config=True,
    )
    scaling.add_argument("--out", type=path, required=True, help="folder for runs, tables and page")
    scaling.add_argument("--images", type=wholes, required=True, help="numbers of training images, three or more")
    scaling.add_argument("--widths", type=factors, default=(0.5, 1.0, 2.0), help="factors of the widths, three or more")
    scaling.add_argument("--depths", type=wholes, default=(), help="blocks (vgg), levels (unet) or layers (resnet)")
    scaling.add_argument("--scales", type=factors, default=(), help="factors of the input's height and width")
    scaling.add_argument("--batches", type=wholes, default=(), help="batch sizes")
    scaling.add_argument("--seeds", type=positive, default=1, help="runs of each kind (default: 1)")
    scaling.add_argument(
        "--hold-out", type=count, default=1, help="largest runs that the law is tried on, not fitted to (default: 1)"
    )
    scaling.add_argument("--dry-run", action="store_true", help="list runs, sizes and costs; train nothing")

    sweep = commands.add_parser("sweep", help="search over settings: start, watch, go on, report")
    sweep_commands = sweep.add_subparsers(required=True, metavar="COMMAND")

    start = command(
        sweep_commands,
        "sweep start",
        _sweep_start,
        "start a search, or go on with it: each trial is an ordinary run",
        "boneage sweep start configs/sweeps/tiny.py --out sweeps/tiny --workers 2\n"
        "boneage sweep start configs/sweeps/grid.py --out sweeps/grid --workers 0    # workers come by launch/\n"
        "boneage sweep start configs/sweeps/grid.py --out sweeps/grid --storage postgresql://user@host/boneage",
    )
    start.add_argument("sweep", type=path, help="file that defines get_sweep(), as configs/sweeps/tiny.py")
    start.add_argument("--out", type=path, required=True, help="folder for study, runs and page")
    start.add_argument("--storage", default="", help="database of the study (default: a file in --out)")
    resume = command(
        sweep_commands,
        "sweep resume",
        _sweep_resume,
        "go on with a search where it was left",
        "boneage sweep resume sweeps/tiny --workers 2",
    )
    work = command(
        sweep_commands,
        "sweep work",
        _sweep_work,
        "be one worker: what start, resume and jobs of launch/ run",
        "boneage sweep work sweeps/tiny",
    )
    for one in (start, resume):
        one.add_argument("--workers", type=count, default=1, help="of this machine; 0 for none (default: 1)")
        one.add_argument(
            "--gpus", type=count, default=0, help="GPUs dealt to the workers; 0 leaves the choice to JAX (default: 0)"
        )
    for one in (start, resume, work):
        one.add_argument(
            "--lease",
            type=seconds,
            default=60.0,
            help="seconds of silence after which a worker counts as lost and another takes its trial (default: 60)",
        )
    for one in (resume, work):
        one.add_argument("sweep", type=path, help="folder of the sweep")
    for name, run_command, summary in (
        ("status", _sweep_status, "say how all trials stand"),
        ("best", _sweep_best, "name the best trial and how to train it again"),
        ("report", _sweep_report, "write the page: parallel coordinates, importance of settings, all trials"),
    ):
        one = command(sweep_commands, f"sweep {name}", run_command, summary, f"boneage sweep {name} sweeps/tiny")
        one.add_argument("sweep", type=path, help="folder of the sweep")


def _plan(options: argparse.Namespace, config_arguments: list[str]) -> None:
    import json

    from boneage_jax.config import loading
    from boneage_jax.files import write_text
    from boneage_jax.planning import plan

    request = plan.PlanRequest(
        loading.load(config_arguments),
        options.topology,
        options.batch_a_chip,
        options.images,
        not options.no_largest,
        not options.no_scaling,
    )
    found = plan.plan(request)
    print(plan.as_text(found))
    if options.json:
        write_text(options.json, json.dumps(plan.as_dict(found), indent=2) + "\n")


def _scaling(options: argparse.Namespace, config_arguments: list[str]) -> None:
    from boneage_jax.config import loading
    from boneage_jax.scaling import page, study

    request = study.ScalingRequest(
        loading.load(config_arguments),
        options.out,
        options.images,
        options.widths,
        options.depths,
        options.scales,
        options.batches,
        options.seeds,
        options.hold_out,
    )
    if options.dry_run:
        study.check(request)
        print(study.as_text(request, study.plan(request)))
        return
    found = study.study(request)
    page.write(found)
    print(page.as_text(found))


def _sweep_start(options: argparse.Namespace, _: list[str]) -> int:
    from boneage_jax.sweeps import commands

    return _sweep_run(commands.make(str(options.sweep), options.out, options.storage), options)


def _sweep_resume(options: argparse.Namespace, _: list[str]) -> int:
    from boneage_jax.sweeps.study import Folder

    return _sweep_run(Folder.open(options.sweep), options)


def _sweep_run(folder: Folder, options: argparse.Namespace) -> int:
    from boneage_jax.sweeps import commands

    status = commands.run_workers(folder, options.workers, options.gpus, options.lease)
    print(f"{commands.status(folder)}\nthe sweep lies in {folder.path}\nnext: {commands.next_step(folder)}")
    return status


def _sweep_work(options: argparse.Namespace, _: list[str]) -> int:
    from boneage_jax.sweeps import commands
    from boneage_jax.sweeps.study import Folder

    return commands.work(Folder.open(options.sweep), options.lease)


def _sweep_status(options: argparse.Namespace, _: list[str]) -> None:
    from boneage_jax.sweeps import commands
    from boneage_jax.sweeps.study import Folder

    print(commands.status(Folder.open(options.sweep)))


def _sweep_best(options: argparse.Namespace, _: list[str]) -> None:
    from boneage_jax.sweeps import commands
    from boneage_jax.sweeps.study import Folder

    print(commands.best(Folder.open(options.sweep)))


def _sweep_report(options: argparse.Namespace, _: list[str]) -> None:
    from boneage_jax.sweeps import report
    from boneage_jax.sweeps.study import Folder

    print(report.write(Folder.open(options.sweep)))
