"""`boneage COMMAND`: parses and dispatches, holds no logic.

Exit status: 0 done; 2 input that the user can mend; 3 the loss is not finite; 75 told to stop, saved, to be started
again; 76 another process of the run has ended; 130 interrupted from the keyboard.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import re
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from boneage_jax import NOT_A_MEDICAL_DEVICE, __version__, errors
from boneage_jax.experiment import is_config_argument

if TYPE_CHECKING:
    from boneage_jax.sweeps.study import Folder


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; returns its exit status."""
    # TFDS imports protobuf, and JAX starts its logs, with noise that no user can act on.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        options, config_arguments = _parse(arguments)
        status = options.run_command(options, config_arguments)
        sys.stdout.flush()
        return status or 0
    except errors.UserError as error:
        print(f"boneage: {error}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        print("boneage: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        print(f"boneage: {error.filename or 'writing'}: {error.strerror or error}", file=sys.stderr)
        return errors.EXIT_BAD_INPUT
    except Exception as error:
        # Known only once JAX is loaded, which plain `--help` need not wait for.
        status = getattr(error, "exit_status", None)
        if status is None:
            raise
        print(f"boneage: {error}", file=sys.stderr)
        return int(status)


def _parse(arguments: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """Splits `--config...` from the rest, which argparse knows."""
    config_arguments: list[str] = []
    own: list[str] = []
    takes_value = False
    for argument in arguments:
        if takes_value or is_config_argument(argument):
            config_arguments.append(argument)
            takes_value = not takes_value and "=" not in argument
        else:
            own.append(argument)
    options = _parser().parse_args(own)
    if config_arguments and not options.takes_config:
        raise errors.UserError(f"{config_arguments[0]}: boneage {options.name} takes no config; see its --help")
    return options, config_arguments


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="boneage",
        description=f"Bone age, in months, from hand radiographs. {NOT_A_MEDICAL_DEVICE}",
        epilog="example: boneage demo --out boneage_demo",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"boneage-jax {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    data = commands.add_parser("data", help="build datasets, describe built ones")
    data_commands = data.add_subparsers(required=True, metavar="COMMAND")

    build = _command(
        data_commands,
        "data build",
        _data_build,
        "build a TFDS dataset: phantoms, or RSNA images from a download",
        "boneage data build hand_phantom/tiny --out data\n"
        "boneage data build rsna_bone_age --from downloads/rsna --out data --workers 8\n"
        "boneage data build rsna_bone_age --from downloads/rsna --out data --size 500x375 --encoding jpeg",
    )
    build.add_argument("dataset", help="hand_phantom/tiny|small|registered|raw_tiny|raw|full, rsna_bone_age[/small]")
    build.add_argument(
        "--out", type=pathlib.Path, default=pathlib.Path("data"), help="folder of all built datasets (default: data)"
    )
    build.add_argument(
        "--from",
        dest="source",
        type=pathlib.Path,
        help="folder of the RSNA download: zips, folders, or images with a CSV",
    )
    build.add_argument(
        "--workers",
        type=_positive,
        default=None,
        help="processes (default: all processors); does not change the result",
    )
    build.add_argument(
        "--missing", choices=("error", "skip"), default="error", help="rows without an image, images without a row"
    )
    build.add_argument("--size", type=_size, help="fit images into HEIGHTxWIDTH pixels, as in 500x375")
    build.add_argument(
        "--encoding",
        choices=("png", "jpeg", "raw"),
        default="png",
        help="how --size images are stored; jpeg and raw are cheaper to decode",
    )
    build.add_argument("--quality", type=_positive, default=95, help="of JPEG (default: 95)")
    build.add_argument("--counts", type=_counts, help="phantoms as TRAIN,VALIDATION,TEST in place of the config's")

    info = _command(
        data_commands,
        "data info",
        _data_info,
        "describe a built dataset",
        "boneage data info hand_phantom/tiny --out data",
    )
    info.add_argument("dataset", help="as in hand_phantom/tiny")
    info.add_argument(
        "--out", type=pathlib.Path, default=pathlib.Path("data"), help="folder of all built datasets (default: data)"
    )
    info.add_argument("--json", action="store_true", help="print JSON")

    phantom = _command(
        commands,
        "phantom",
        _phantom,
        "draw hands of any bone age, with exact truth: a picture, a strip or an animation",
        "boneage phantom --age 96 --sex F --out hand.png\n"
        "boneage phantom --age 96 --sex F --set carpals=132 --truth --out ahead.png\n"
        "boneage phantom --ages 0:240:6 --sex M --size 520x400 --out growing.gif\n"
        "boneage phantom --plate --view raw --size 260x200 --out plate.png",
    )
    what = phantom.add_mutually_exclusive_group(required=True)
    what.add_argument("--age", type=float, help="bone age in months, 0 to 240")
    what.add_argument("--ages", type=_ages, metavar="FIRST:LAST:STEP", help="the same child at several ages")
    what.add_argument("--plate", action="store_true", help="different children by age and sex")
    phantom.add_argument("--sex", default="F", help="M or F (default: F)")
    phantom.add_argument("--seed", type=int, default=0, help="same seed, same child, same picture (default: 0)")
    phantom.add_argument("--size", type=_size, default=(1040, 800), help="HEIGHTxWIDTH in pixels (default: 1040x800)")
    phantom.add_argument("--view", default="plain", help="plain, raw (all disturbances) or registered (default: plain)")
    phantom.add_argument(
        "--set", dest="counterfactual", default="", metavar="BONES=MONTHS", help="age of some bones, as in carpals=120"
    )
    phantom.add_argument("--truth", action="store_true", help="write mask, bones and points beside the picture too")
    phantom.add_argument("--out", type=pathlib.Path, required=True, help=".png, or .gif with --ages")

    train = _command(
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
    train.add_argument("--run", type=pathlib.Path, required=True, help="folder of the run")
    several = train.add_argument_group(
        "several processes", "found by themselves under Slurm and in TPU pods; elsewhere all three numbers are given"
    )
    several.add_argument("--coordinator", default="", metavar="HOST:PORT", help="where process 0 listens")
    several.add_argument("--processes", type=_positive, default=0, help="how many there are")
    several.add_argument("--process", type=_count, default=-1, help="which one this is, from 0")
    several.add_argument(
        "--distributed",
        choices=("auto", "on", "off"),
        default="auto",
        help="whether to look for others: where the environment speaks of them, always, never (default: auto)",
    )
    several.add_argument(
        "--wait", type=_positive, default=300, help="seconds to wait for the others at the start (default: 300)"
    )

    evaluate = _command(
        commands,
        "evaluate",
        _evaluate,
        "score a run on a split: table, JSON, CSV, page",
        "boneage evaluate runs/tiny --split test",
    )
    evaluate.add_argument("run", type=pathlib.Path, help="folder of the run")
    evaluate.add_argument("--split", default="test", help="split, in TFDS's notation (default: test)")
    evaluate.add_argument("--data", type=pathlib.Path, help="folder of built datasets (default: the one trained from)")
    evaluate.add_argument("--dataset", default="", help="dataset (default: the one trained on)")
    evaluate.add_argument("--step", type=_positive, help="checkpoint (default: the best by evaluation MAE)")
    evaluate.add_argument(
        "--test-time", action="store_true", help="average over slightly turned and zoomed pictures; for ages"
    )
    evaluate.add_argument("--report", action="store_true", help="write report.html beside the scores too")

    paper = _command(
        commands,
        "paper",
        _paper,
        "train and score the paper's table: models, heads, regions, sexes; ensembles; errors by stage",
        "boneage paper --out paper --tiny --cells 'm46-*'          # on phantoms, each cell a minute\n"
        "boneage paper --out paper --dry-run                       # what there is to do, and what it costs\n"
        "boneage paper --out paper --dataset registered_hands/rsna_bone_age-full --data data\n"
        "boneage paper --out folds --dataset registered_hands/rsna_bone_age-full --folds 5 --cells 'm46-*-all'\n\n"
        "the same command goes on where it was cut short",
        takes_config=False,
    )
    paper.add_argument("--out", type=pathlib.Path, required=True, help="folder for runs, tables and page")
    paper.add_argument(
        "--data", type=pathlib.Path, default=pathlib.Path("data"), help="folder of built datasets (default: data)"
    )
    paper.add_argument(
        "--dataset", default="hand_phantom/registered", help="registered hands (default: hand_phantom/registered)"
    )
    paper.add_argument("--cells", type=_names, default=(), help="as in 'm46-*-A-all,resnet50-*' (default: all 36)")
    paper.add_argument("--tiny", action="store_true", help="train the cells' tiny twins")
    paper.add_argument("--validation", default="validation", help="split that ensembles are fitted on")
    paper.add_argument("--test", default="test", help="split that is reported")
    paper.add_argument(
        "--folds", type=_count, default=0, help="cross-validation: train each cell so often, report the training split"
    )
    paper.add_argument("--patients", type=pathlib.Path, help="with --folds: CSV of image and patient, dealt together")
    paper.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="setting of every cell's config")
    paper.add_argument("--dry-run", action="store_true", help="list cells, costs and what is done; train nothing")

    mine = _command(
        commands,
        "mine",
        _mine,
        "positive mining: from a few masks to many, round by round; the same command goes on",
        "boneage mine --config=configs/segmentation.py --config.data.name=rsna_bone_age/full --masks masks --out m\n"
        "boneage mine --config=configs/segmentation.py:tiny --labelled 100 --correct 50 --measure test --out mining",
        takes_config=True,
    )
    mine.add_argument("--out", type=pathlib.Path, required=True, help="folder for everything")
    mine.add_argument("--masks", type=pathlib.Path, help="labelled images: masks by id, or any annotation file")
    mine.add_argument(
        "--labelled", type=_positive, default=100, help="without --masks: images whose own masks count (default: 100)"
    )
    mine.add_argument("--rounds", type=_positive, default=6, help="at most (default: 6)")
    mine.add_argument("--accept", type=float, default=0.90, help="lowest score accepted, 0 to 1 (default: 0.9)")
    mine.add_argument(
        "--correct",
        type=_count,
        default=0,
        help="without a person: after each round, so many of the worst masks become the images' own (default: 0)",
    )
    mine.add_argument("--measure", default="", help="split on whose own masks each round is measured; for phantoms")
    mine.add_argument("--reference", action="store_true", help="train on all masks too, to compare with")

    calibrate = _command(
        commands,
        "calibrate",
        _calibrate,
        "take limits of trust from what masks and key points say of ordinary hands",
        "boneage calibrate hand_phantom/raw --segmentation runs/segmentation --landmarks runs/landmarks \\\n"
        "    --split 'validation[:200]' --out runs/limits.json\n"
        "boneage register hand_phantom/raw --segmentation runs/segmentation --landmarks runs/landmarks \\\n"
        "    --limits runs/limits.json",
    )
    calibrate.add_argument("dataset", help="built dataset of radiographs, as in hand_phantom/raw")
    calibrate.add_argument("--segmentation", type=pathlib.Path, required=True, help="folder of a run of that task")
    calibrate.add_argument("--landmarks", type=pathlib.Path, required=True, help="folder of a run of that task")
    calibrate.add_argument(
        "--data", type=pathlib.Path, default=pathlib.Path("data"), help="folder of built datasets (default: data)"
    )
    calibrate.add_argument(
        "--split", default="validation", help="of hands that were not trained on (default: validation)"
    )
    calibrate.add_argument(
        "--share", type=float, default=0.04, help="of these that the limits may flag (default: 0.04)"
    )
    calibrate.add_argument("--views", type=int, choices=(1, 2, 6), default=6, help="as the pipeline will be used")
    calibrate.add_argument("--no-second-look", action="store_true", help="likewise")
    calibrate.add_argument("--out", type=pathlib.Path, required=True, help="file to write")

    register = _command(
        commands,
        "register",
        _register,
        "lay every hand of a dataset on the common canvas: a new dataset of hands and regions",
        "boneage register hand_phantom/raw --segmentation runs/segmentation --landmarks runs/landmarks --data data\n"
        "boneage register rsna_bone_age/full --segmentation runs/s --landmarks runs/l --regions whole,A,B,C\n"
        "boneage register rsna_bone_age/full --segmentation runs/s --landmarks runs/l --drop-flagged \\\n"
        "    --regions A,wrist=1500:2000,400:1200@250x400 --name wrists\n"
        "boneage register rsna_bone_age/full --segmentation runs/s --landmarks runs/l --regions whole \\\n"
        "    --canvas 1040,800,400,50,400,800 --name small\n\n"
        "the same command goes on where it was cut short",
    )
    register.add_argument("dataset", help="built dataset of radiographs, as in hand_phantom/raw")
    register.add_argument("--segmentation", type=pathlib.Path, required=True, help="folder of a run of that task")
    register.add_argument("--landmarks", type=pathlib.Path, required=True, help="folder of a run of that task")
    register.add_argument(
        "--data", type=pathlib.Path, default=pathlib.Path("data"), help="folder of built datasets (default: data)"
    )
    register.add_argument("--out", type=pathlib.Path, help="folder the new dataset goes to (default: that of --data)")
    register.add_argument(
        "--name", default="", help="of the new dataset, registered_hands/NAME (default: the source's)"
    )
    register.add_argument("--splits", type=_names, default=(), help="as in train,test (default: all)")
    register.add_argument(
        "--regions",
        default="whole,A,B,C",
        help="separated by commas: whole, A, B, C, any @HEIGHTxWIDTH, or NAME=ROW0:ROW1,COL0:COL1@HEIGHTxWIDTH "
        "(default: whole,A,B,C)",
    )
    register.add_argument(
        "--canvas",
        type=_numbers(6, "HEIGHT,WIDTH,TIP_X,TIP_Y,CAPITATE_X,CAPITATE_Y"),
        metavar="HEIGHT,WIDTH,TIP_X,TIP_Y,CAPITATE_X,CAPITATE_Y",
        help="canvas in pixels, and where middle fingertip and capitate go (default: the paper's, "
        "2080,1600,800,100,800,1600)",
    )
    register.add_argument(
        "--views",
        type=int,
        choices=(1, 2, 6),
        default=6,
        help="that each network's last look takes: 2 with the mirror image, 6 with turned ones too (default: 6)",
    )
    register.add_argument("--limits", type=pathlib.Path, help="limits of trust, as boneage calibrate writes them")
    register.add_argument("--no-second-look", action="store_true", help="networks look once: half the time, less exact")
    register.add_argument("--batch-size", type=_positive, default=16, help="images the networks see at once")
    register.add_argument("--threads", type=_positive, default=4, help="threads between the networks (default: 4)")
    register.add_argument("--drop-flagged", action="store_true", help="leave images with flags out of the dataset")
    register.add_argument("--annotations", type=pathlib.Path, help="folder for coco.json and masks/, to be corrected")

    annotations = commands.add_parser("annotations", help="masks, points and boxes of annotation tools")
    annotations_commands = annotations.add_subparsers(required=True, metavar="COMMAND")
    convert = _command(
        annotations_commands,
        "annotations convert",
        _annotations_convert,
        "read COCO, VIA, Labelme, Pascal VOC or mask folders; write COCO or a mask folder",
        "boneage annotations convert via_project.json --images radiographs --out coco.json\n"
        "boneage annotations convert bonet.json --rename 'thumb tip=1,capitate=17' --out points.json\n"
        "boneage annotations convert labelme/ --out masks/",
    )
    convert.add_argument("source", type=pathlib.Path, help="file or folder; the format is told from the content")
    convert.add_argument("--out", type=pathlib.Path, required=True, help="COCO .json, or a folder for masks")
    convert.add_argument("--images", type=pathlib.Path, help="folder of the images, where the format keeps no sizes")
    convert.add_argument("--rename", type=_renames, default={}, help="NEW=OLD,... for names of points")

    predict = _command(
        commands,
        "predict",
        _predict,
        "bone age of PNG, JPEG or DICOM radiographs, by the whole chain",
        "boneage predict hand.png --sex F\n"
        "boneage predict radiographs/ --sex-csv sexes.csv --out predictions.csv --page predictions.html\n"
        "boneage predict radiographs/ --sex F --run runs/whole --run runs/carpals \\\n"
        "    --segmentation runs/segmentation --landmarks runs/landmarks\n"
        "boneage predict registered/ --as-is --sex F --run runs/tiny\n\n"
        "networks that are not named are those of the bundle, trained on phantoms only: a research demonstration",
    )
    predict.add_argument(
        "images", nargs="+", type=pathlib.Path, metavar="IMAGE|FOLDER", help="radiographs, or folders of them"
    )
    predict.add_argument(
        "--run",
        type=pathlib.Path,
        action="append",
        default=[],
        help="folder of an age network's run; several times for their mean (default: the bundle's)",
    )
    predict.add_argument("--segmentation", type=pathlib.Path, help="folder of a run (default: the bundle's)")
    predict.add_argument("--landmarks", type=pathlib.Path, help="folder of a run (default: the bundle's)")
    predict.add_argument("--limits", type=pathlib.Path, help="limits of trust of these two, of boneage calibrate")
    predict.add_argument("--bundle", type=pathlib.Path, help="file of boneage bundle (default: the shipped one)")
    predict.add_argument("--as-is", action="store_true", help="pictures show registered hands on the whole canvas")
    predict.add_argument("--out", type=pathlib.Path, help="CSV to write: file,months,spread,sex,flags")
    predict.add_argument("--page", type=pathlib.Path, help="HTML page to write, with pictures of what was found")
    predict.add_argument("--sex", default="", help="sex of all children: M or F")
    predict.add_argument("--sex-csv", type=pathlib.Path, help="CSV with the columns file,male")
    predict.add_argument("--step", type=_positive, help="checkpoint of --run (default: the best by evaluation MAE)")
    predict.add_argument(
        "--views", type=int, choices=(1, 2, 6), default=6, help="every network takes of a hand (default: 6)"
    )
    predict.add_argument("--batch-size", type=_positive, default=16, help="radiographs at once (default: 16)")

    bundle = _command(
        commands,
        "bundle",
        _bundle,
        "put networks into one small file for boneage predict",
        "boneage bundle --segmentation runs/s --landmarks runs/l --run runs/phantom-only --out bundle.safetensors",
    )
    bundle.add_argument("--segmentation", type=pathlib.Path, required=True, help="folder of a run of that task")
    bundle.add_argument("--landmarks", type=pathlib.Path, required=True, help="folder of a run of that task")
    bundle.add_argument(
        "--run",
        type=pathlib.Path,
        action="append",
        required=True,
        help="folder of an age network's run; or several",
    )
    bundle.add_argument("--out", type=pathlib.Path, required=True, help="file to write")
    bundle.add_argument(
        "--weights", action="store_true", help="weigh age networks by how well they do on --split, in place of the mean"
    )
    bundle.add_argument(
        "--debias", action="store_true", help="correct the linear bias of what they say together, fitted on --split"
    )
    bundle.add_argument("--limits", type=pathlib.Path, help="limits of trust for its hands, of boneage calibrate")
    bundle.add_argument("--split", default="validation", help="of the first run's dataset (default: validation)")
    bundle.add_argument("--data", type=pathlib.Path, help="folder of built datasets (default: the first run's)")

    importance = _command(
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
    importance.add_argument("run", type=pathlib.Path, help="folder of an age network's run")
    importance.add_argument("--out", type=pathlib.Path, required=True, help="folder for tables, pictures and page")
    importance.add_argument("--data", type=pathlib.Path, help="folder of built datasets (default: the run's)")
    importance.add_argument("--dataset", default="", help="phantoms or registered hands (default: the run's)")
    importance.add_argument("--split", default="test", help="split, in TFDS's notation (default: test)")
    importance.add_argument(
        "--images", type=_positive, default=200, help="at most so many, spread over the ages (default: 200)"
    )
    importance.add_argument(
        "--filling",
        choices=("other", "mean", "blur", "black"),
        default="other",
        help="what a part is replaced by: another child's, the mean of all, its own blurred, black (default: other)",
    )
    importance.add_argument(
        "--beside", type=pathlib.Path, action="append", default=[], help="run that sees another region; or several"
    )
    importance.add_argument("--batch-size", type=_positive, default=32, help="images at once (default: 32)")
    importance.add_argument("--seed", type=_count, default=0, help="of fillings and noise (default: 0)")

    plan = _command(
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
    plan.add_argument("--batch-a-chip", type=_positive, default=0, help="images a chip (default: the config's batch)")
    plan.add_argument("--images", type=_positive, default=0, help="of the training split (default: the dataset's)")
    plan.add_argument("--no-largest", action="store_true", help="do not look for the largest batch that fits")
    plan.add_argument("--no-scaling", action="store_true", help="do not compile for a single chip to compare with")
    plan.add_argument("--json", type=pathlib.Path, help="write it as JSON too")

    scaling = _command(
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
    scaling.add_argument("--out", type=pathlib.Path, required=True, help="folder for runs, tables and page")
    scaling.add_argument("--images", type=_wholes, required=True, help="numbers of training images, three or more")
    scaling.add_argument(
        "--widths", type=_factors, default=(0.5, 1.0, 2.0), help="factors of the widths, three or more"
    )
    scaling.add_argument("--depths", type=_wholes, default=(), help="blocks (vgg), levels (unet) or layers (resnet)")
    scaling.add_argument("--scales", type=_factors, default=(), help="factors of the input's height and width")
    scaling.add_argument("--batches", type=_wholes, default=(), help="batch sizes")
    scaling.add_argument("--seeds", type=_positive, default=1, help="runs of each kind (default: 1)")
    scaling.add_argument(
        "--hold-out", type=_count, default=1, help="largest runs that the law is tried on, not fitted to (default: 1)"
    )
    scaling.add_argument("--dry-run", action="store_true", help="list runs, sizes and costs; train nothing")

    sweep = commands.add_parser("sweep", help="search over settings: start, watch, go on, report")
    sweep_commands = sweep.add_subparsers(required=True, metavar="COMMAND")

    start = _command(
        sweep_commands,
        "sweep start",
        _sweep_start,
        "start a search, or go on with it: each trial is an ordinary run",
        "boneage sweep start configs/sweeps/tiny.py --out sweeps/tiny --workers 2\n"
        "boneage sweep start configs/sweeps/grid.py --out sweeps/grid --workers 0    # workers come by launch/\n"
        "boneage sweep start configs/sweeps/grid.py --out sweeps/grid --storage postgresql://user@host/boneage",
    )
    start.add_argument("sweep", help="file that defines get_sweep(), as configs/sweeps/tiny.py")
    start.add_argument("--out", type=pathlib.Path, required=True, help="folder for study, runs and page")
    start.add_argument("--storage", default="", help="database of the study (default: a file in --out)")
    resume = _command(
        sweep_commands,
        "sweep resume",
        _sweep_resume,
        "go on with a search where it was left",
        "boneage sweep resume sweeps/tiny --workers 2",
    )
    work = _command(
        sweep_commands,
        "sweep work",
        _sweep_work,
        "be one worker: what start, resume and jobs of launch/ run",
        "boneage sweep work sweeps/tiny",
    )
    for one in (start, resume):
        one.add_argument("--workers", type=_count, default=1, help="of this machine; 0 for none (default: 1)")
        one.add_argument(
            "--gpus", type=_count, default=0, help="GPUs dealt to the workers; 0 leaves the choice to JAX (default: 0)"
        )
    for one in (start, resume, work):
        one.add_argument(
            "--lease",
            type=_seconds,
            default=60.0,
            help="seconds of silence after which a worker counts as lost and another takes its trial (default: 60)",
        )
    for one in (resume, work):
        one.add_argument("sweep", type=pathlib.Path, help="folder of the sweep")
    for name, run_command, summary in (
        ("status", _sweep_status, "say how all trials stand"),
        ("best", _sweep_best, "name the best trial and how to train it again"),
        ("report", _sweep_report, "write the page: parallel coordinates, importance of settings, all trials"),
    ):
        one = _command(sweep_commands, f"sweep {name}", run_command, summary, f"boneage sweep {name} sweeps/tiny")
        one.add_argument("sweep", type=pathlib.Path, help="folder of the sweep")

    demo = _command(
        commands,
        "demo",
        _demo,
        "the whole way on phantoms: build, train, evaluate, report",
        "boneage demo --out boneage_demo",
        takes_config=True,
    )
    demo.add_argument(
        "--out",
        type=pathlib.Path,
        default=pathlib.Path("boneage_demo"),
        help="folder for everything (default: boneage_demo)",
    )
    demo.add_argument(
        "--quick", action="store_true", help="few phantoms and steps: shows that all runs, learns nothing"
    )
    demo.add_argument("--workers", type=_positive, default=None, help="that render (default: all processors)")
    return parser


def _command(
    commands: argparse._SubParsersAction,
    name: str,
    run_command: Callable[[argparse.Namespace, list[str]], int | None],
    summary: str,
    example: str,
    *,
    takes_config: bool = False,
) -> argparse.ArgumentParser:
    indented = "\n".join(f"  {line}" if line.startswith("boneage") else line for line in example.splitlines())
    parser: argparse.ArgumentParser = commands.add_parser(
        name.split()[-1],
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        epilog=f"example:\n{indented}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run_command=run_command, takes_config=takes_config, name=name)
    if takes_config:
        parser.add_argument("--config", metavar="FILE[:ARG]", help="config file, then any --config.section.key=value")
    return parser


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"found {text}, expected a whole number above 0")
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"found {text}, expected a whole number, 0 or more")
    return value


def _wholes(text: str) -> tuple[int, ...]:
    if not all(part.strip().isdigit() for part in text.split(",")):
        raise argparse.ArgumentTypeError(f"found {text!r}, expected whole numbers, as in 250,500,1000")
    return tuple(map(int, text.split(",")))


def _factors(text: str) -> tuple[float, ...]:
    try:
        return tuple(map(float, text.split(",")))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected numbers, as in 0.5,1,2") from error


def _seconds(text: str) -> float:
    value = float(text)
    if not value > 0:
        raise argparse.ArgumentTypeError(f"found {text}, expected a number of seconds above 0")
    return value


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if not match:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected HEIGHTxWIDTH, as in 500x375")
    return int(match[1]), int(match[2])


def _ages(text: str) -> list[float]:
    match = re.fullmatch(r"([\d.]+):([\d.]+):([\d.]+)", text)
    if not match or float(match[3]) <= 0 or float(match[2]) < float(match[1]):
        raise argparse.ArgumentTypeError(f"found {text!r}, expected FIRST:LAST:STEP in months, as in 12:216:12")
    first, last, step = (float(part) for part in match.groups())
    return [first + n * step for n in range(int((last - first) / step + 1e-6) + 1)]


def _numbers(count: int, names: str) -> Callable[[str], tuple[float, ...]]:
    def parse(text: str) -> tuple[float, ...]:
        parts = text.split(",")
        if len(parts) != count or not all(re.fullmatch(r"-?\d+(\.\d+)?", part.strip()) for part in parts):
            raise argparse.ArgumentTypeError(f"found {text!r}, expected {names}")
        return tuple(map(float, parts))

    return parse


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _renames(text: str) -> dict[str, str]:
    pairs = [part.split("=") for part in text.split(",")]
    if not all(len(pair) == 2 for pair in pairs):
        raise argparse.ArgumentTypeError(f"found {text!r}, expected NEW=OLD,..., as in capitate=17")
    return {new.strip(): old.strip() for new, old in pairs}


def _counts(text: str) -> dict[str, int]:
    parts = text.split(",")
    if len(parts) != 3 or not all(part.isdigit() for part in parts):
        raise argparse.ArgumentTypeError(f"found {text!r}, expected TRAIN,VALIDATION,TEST, as in 400,50,50")
    return dict(zip(("train", "validation", "test"), map(int, parts), strict=True))


def _data_build(options: argparse.Namespace, _: list[str]) -> None:
    from boneage_jax.data import build, parallel

    workers = options.workers or parallel.default_workers()
    dataset = build.build(
        options.dataset,
        options.out,
        source=options.source,
        workers=workers,
        missing=options.missing,
        size=options.size,
        encoding=options.encoding,
        quality=options.quality,
        counts=options.counts,
    )
    print(build.as_text(build.describe(options.out, dataset.name)))


def _data_info(options: argparse.Namespace, _: list[str]) -> None:
    from boneage_jax.data import build

    description = build.describe(options.out, options.dataset)
    print(build.as_json(description) if options.json else build.as_text(description))


def _phantom(options: argparse.Namespace, _: list[str]) -> None:
    from boneage_jax.phantom import export

    height, width = options.size
    sitter = export.Sitter(options.sex, options.seed, height, width, options.view, options.counterfactual)
    written = [options.out]
    if options.plate:
        export.write_plate(sitter, options.out)
    elif options.ages:
        export.write_sweep(sitter, options.ages, options.out)
    else:
        written = export.write_one(sitter, options.age, options.out, with_truth=options.truth)
    print("\n".join(str(path) for path in written))


def _train(options: argparse.Namespace, config_arguments: list[str]) -> None:
    from boneage_jax import experiment

    config = experiment.load(config_arguments)
    from boneage_jax.train import processes
    from boneage_jax.train.loop import train

    world = processes.World.of(
        options.distributed, options.coordinator, options.processes, options.process, options.wait, os.environ
    )
    with processes.joined(world):
        result = train(config, options.run)
        if processes.leads():
            print(result.summary())


def _evaluate(options: argparse.Namespace, _: list[str]) -> None:
    from boneage_jax.analysis import evaluate, per_image, report
    from boneage_jax.train import run

    loaded = run.load(options.run, step=options.step)
    if not loaded.task.needs_age:
        print(per_image.score(loaded, split=options.split, data_dir=options.data, dataset=options.dataset).as_text())
        return
    result = evaluate.evaluate(
        loaded, split=options.split, data_dir=options.data, dataset=options.dataset, test_time=options.test_time
    )
    if options.report:
        report.write(result, loaded, result.folder / "report.html")
    print(f"{evaluate.as_text(result)}\n\ntable, JSON and predictions lie in {result.folder}")


def _paper(options: argparse.Namespace, _: list[str]) -> None:
    from boneage_jax.analysis import paper, paper_page, paper_results

    request = paper.PaperRequest(
        options.out,
        options.data,
        options.dataset,
        options.cells,
        tiny=options.tiny,
        overrides=tuple(f"--config.{setting}" for setting in options.set),
        validation=options.validation,
        test=options.test,
        folds=options.folds,
        patients=options.patients,
    )
    if options.dry_run:
        print(paper.as_text(paper.plan(request)))
        return
    print(paper_page.as_text(paper_page.write(paper_results.results(request), options.out)))


def _mine(options: argparse.Namespace, config_arguments: list[str]) -> None:
    from boneage_jax import experiment
    from boneage_jax.hand import mining

    request = mining.MiningRequest(
        experiment.load(config_arguments),
        options.out,
        options.masks,
        options.labelled,
        options.rounds,
        options.accept,
        options.correct,
        measure=options.measure,
        reference=options.reference,
    )
    print(mining.as_text(request, mining.mine(request)))


def _register(options: argparse.Namespace, _: list[str]) -> None:
    from boneage_jax.canvas import Canvas
    from boneage_jax.hand import commands

    request = commands.RegisterRequest(
        options.dataset,
        options.data,
        options.segmentation,
        options.landmarks,
        options.out or options.data,
        name=options.name,
        splits=options.splits,
        regions=options.regions,
        batch_size=options.batch_size,
        threads=options.threads,
        canvas=Canvas.of(*options.canvas) if options.canvas else Canvas(),
        views=options.views,
        second_look=not options.no_second_look,
        drop_flagged=options.drop_flagged,
        annotations=options.annotations,
        limits=options.limits,
    )
    print(commands.register(request))


def _calibrate(options: argparse.Namespace, _: list[str]) -> None:
    from boneage_jax.hand import calibrate

    request = calibrate.CalibrateRequest(
        options.dataset,
        options.data,
        options.segmentation,
        options.landmarks,
        options.out,
        options.split,
        options.share,
        options.views,
        not options.no_second_look,
    )
    print(calibrate.as_text(calibrate.write(request), options.out))


def _annotations_convert(options: argparse.Namespace, _: list[str]) -> None:
    from boneage_jax.data.annotations import convert

    print(convert.convert(options.source, options.out, folder=options.images, names=options.rename))


def _predict(options: argparse.Namespace, _: list[str]) -> None:
    from boneage_jax.hand import assess, commands

    request = assess.AssessRequest(
        tuple(options.images),
        tuple(options.run),
        step=options.step,
        bundle=options.bundle,
        segmentation=options.segmentation,
        landmarks=options.landmarks,
        limits=options.limits,
        as_is=options.as_is,
        sex=options.sex,
        sex_csv=options.sex_csv,
        views=options.views,
        batch_size=options.batch_size,
    )
    print(commands.predict(request, options.out, options.page))


def _bundle(options: argparse.Namespace, _: list[str]) -> None:
    from boneage_jax.hand import bundling

    request = bundling.BundleRequest(
        options.segmentation,
        options.landmarks,
        tuple(options.run),
        options.out,
        weights=options.weights,
        debias=options.debias,
        split=options.split,
        data=options.data,
        limits=options.limits,
    )
    print(bundling.make(request))


def _importance(options: argparse.Namespace, _: list[str]) -> None:
    from boneage_jax.data import parallel
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


def _plan(options: argparse.Namespace, config_arguments: list[str]) -> None:
    import json

    from boneage_jax import experiment
    from boneage_jax.files import write_text
    from boneage_jax.planning import plan

    request = plan.PlanRequest(
        experiment.load(config_arguments),
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
    from boneage_jax import experiment
    from boneage_jax.scaling import page, study

    request = study.ScalingRequest(
        experiment.load(config_arguments),
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

    return _sweep_run(commands.make(options.sweep, options.out, options.storage), options)


def _sweep_resume(options: argparse.Namespace, _: list[str]) -> int:
    from boneage_jax.sweeps.study import Folder

    return _sweep_run(Folder.open(options.sweep), options)


def _sweep_run(folder: Folder, options: argparse.Namespace) -> int:
    from boneage_jax.sweeps import commands

    status = commands.run_workers(folder, options.workers, options.gpus, options.lease)
    print(f"{commands.status(folder)}\nthe sweep lies in {folder.path}; next: boneage sweep report {folder.path}")
    return status


def _sweep_work(options: argparse.Namespace, _: list[str]) -> int:
    from boneage_jax.sweeps.study import Folder
    from boneage_jax.sweeps.worker import Worker

    return Worker(Folder.open(options.sweep), lease=options.lease).work()


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


def _demo(options: argparse.Namespace, config_arguments: list[str]) -> None:
    from boneage_jax import demo
    from boneage_jax.data import parallel

    workers = options.workers or parallel.default_workers()
    print(demo.demo(options.out, workers=workers, arguments=config_arguments, quick=options.quick))


if __name__ == "__main__":
    sys.exit(main())
