"""Commands about hands: masks, key points, registration, and radiographs all the way to ages."""

from __future__ import annotations

import argparse
import pathlib

from boneage_jax.cli.options import command, count, names, numbers, path, positive
from boneage_jax.workflows.sexes import SEX_CONFLICTS


def add(commands: argparse._SubParsersAction) -> None:
    """Declares them."""
    mine = command(
        commands,
        "mine",
        _mine,
        "positive mining: from a few masks to many, round by round; the same command goes on",
        "boneage mine --config=configs/segmentation.py --config.data.name=rsna_bone_age/full --masks masks --out m\n"
        "boneage mine --config=configs/segmentation.py:tiny --labelled 100 --correct 50 --measure test --out mining",
        takes_config=True,
    )
    mine.add_argument("--out", type=path, required=True, help="folder for everything")
    mine.add_argument("--masks", type=path, help="labelled images: masks by id, or any annotation file")
    mine.add_argument(
        "--labelled", type=positive, default=100, help="without --masks: images whose own masks count (default: 100)"
    )
    mine.add_argument("--rounds", type=positive, default=6, help="at most (default: 6)")
    mine.add_argument("--accept", type=float, default=0.90, help="lowest score accepted, 0 to 1 (default: 0.9)")
    mine.add_argument(
        "--correct",
        type=count,
        default=0,
        help="without a person: after each round, so many of the worst masks become the images' own (default: 0)",
    )
    mine.add_argument("--measure", default="", help="split on whose own masks each round is measured; for phantoms")
    mine.add_argument("--reference", action="store_true", help="train on all masks too, to compare with")

    calibrate = command(
        commands,
        "calibrate",
        _calibrate,
        "take quality thresholds from what masks and key points say of ordinary hands",
        "boneage calibrate hand_phantom/raw --segmentation runs/segmentation --landmarks runs/landmarks \\\n"
        "    --split 'validation[:200]' --out runs/thresholds.json\n"
        "boneage register hand_phantom/raw --segmentation runs/segmentation --landmarks runs/landmarks \\\n"
        "    --thresholds runs/thresholds.json",
    )
    calibrate.add_argument("dataset", help="built dataset of radiographs, as in hand_phantom/raw")
    _add_networks(calibrate)
    calibrate.add_argument(
        "--data", type=path, default=pathlib.Path("data"), help="folder of built datasets (default: data)"
    )
    calibrate.add_argument(
        "--split", default="validation", help="of hands that were not trained on (default: validation)"
    )
    calibrate.add_argument(
        "--share", type=float, default=0.04, help="of these that the thresholds may flag (default: 0.04)"
    )
    calibrate.add_argument("--views", type=int, choices=(1, 2, 6), default=6, help="as the pipeline will be used")
    calibrate.add_argument("--coarse-only", action="store_true", help="likewise")
    calibrate.add_argument("--out", type=path, required=True, help="file to write")

    register = command(
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
    _add_networks(register)
    register.add_argument(
        "--data", type=path, default=pathlib.Path("data"), help="folder of built datasets (default: data)"
    )
    register.add_argument("--out", type=path, help="folder the new dataset goes to (default: that of --data)")
    register.add_argument(
        "--name", default="", help="of the new dataset, registered_hands/NAME (default: the source's)"
    )
    register.add_argument("--splits", type=names, default=(), help="as in train,test (default: all)")
    register.add_argument(
        "--regions",
        default="whole,A,B,C",
        help="separated by commas: whole, A, B, C, any @HEIGHTxWIDTH, or NAME=ROW0:ROW1,COL0:COL1@HEIGHTxWIDTH "
        "(default: whole,A,B,C)",
    )
    register.add_argument(
        "--canvas",
        type=numbers(6, "HEIGHT,WIDTH,TIP_X,TIP_Y,CAPITATE_X,CAPITATE_Y"),
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
    register.add_argument("--thresholds", type=path, help="quality thresholds, as boneage calibrate writes them")
    register.add_argument("--coarse-only", action="store_true", help="networks look once: half the time, less exact")
    register.add_argument("--batch-size", type=positive, default=16, help="images the networks see at once")
    register.add_argument("--threads", type=positive, default=4, help="threads between the networks (default: 4)")
    register.add_argument("--drop-flagged", action="store_true", help="leave images with flags out of the dataset")
    register.add_argument("--annotations", type=path, help="folder for coco.json and masks/, to be corrected")

    predict = command(
        commands,
        "predict",
        _predict,
        "bone age of radiographs (PNG, JPEG, DICOM, TIFF, BMP, WebP), by the whole chain",
        "boneage predict hand.png --sex F\n"
        "boneage predict radiographs/ --sex-csv sexes.csv --out predictions.csv --page predictions.html\n"
        "boneage predict radiographs/ --sex F --run runs/whole --run runs/carpals \\\n"
        "    --segmentation runs/segmentation --landmarks runs/landmarks\n"
        "boneage predict registered/ --as-is --sex F --run runs/tiny\n\n"
        "networks that are not named are those of the bundle, trained on phantoms only: a research demonstration\n\n"
        "exit status: 0 every radiograph was read; 4 some could not be used, each has its reason in the table; 2 none "
        "could,\nor the command cannot be carried out",
    )
    predict.add_argument(
        "images",
        nargs="+",
        type=path,
        metavar="IMAGE|FOLDER|ZIP",
        help="radiographs, or folders, zips or DICOMDIRs of them",
    )
    predict.add_argument(
        "--run",
        type=path,
        action="append",
        default=[],
        help="folder of an age network's run, or FILE:MEMBER of a bundle, as in shipped:age0; several times for their "
        "mean (default: the bundle's)",
    )
    predict.add_argument("--segmentation", type=path, help="folder of a run (default: the bundle's)")
    predict.add_argument("--landmarks", type=path, help="folder of a run (default: the bundle's)")
    predict.add_argument("--thresholds", type=path, help="quality thresholds of these two, of boneage calibrate")
    predict.add_argument("--bundle", type=path, help="file of boneage bundle (default: the shipped one)")
    predict.add_argument("--as-is", action="store_true", help="pictures show registered hands on the whole canvas")
    predict.add_argument("--out", type=path, help="CSV to write: file,months,spread,sex,flags,problem")
    predict.add_argument("--page", type=path, help="HTML page to write, with pictures of what was found")
    predict.add_argument(
        "--sex", default="", help="sex of all children: M or F (default: that of each DICOM file's PatientSex)"
    )
    predict.add_argument("--sex-csv", type=path, help="CSV with the columns file,male")
    predict.add_argument(
        "--sex-conflict",
        choices=SEX_CONFLICTS,
        default=SEX_CONFLICTS[0],
        help="what counts where --sex or --sex-csv contradict a PatientSex (default: error, such a file gets no age)",
    )
    predict.add_argument("--step", type=positive, help="checkpoint of --run (default: the best by evaluation MAE)")
    predict.add_argument(
        "--views", type=int, choices=(1, 2, 6), default=6, help="every network takes of a hand (default: 6)"
    )
    predict.add_argument("--batch-size", type=positive, default=16, help="radiographs at once (default: 16)")

    bundle = command(
        commands,
        "bundle",
        _bundle,
        "put networks into one small file for boneage predict",
        "boneage bundle --segmentation runs/s --landmarks runs/l --run runs/phantom-only --out bundle.safetensors",
    )
    _add_networks(bundle)
    bundle.add_argument(
        "--run",
        type=path,
        action="append",
        required=True,
        help="folder of an age network's run; or several",
    )
    bundle.add_argument("--out", type=path, required=True, help="file to write")
    bundle.add_argument(
        "--weights", action="store_true", help="weigh age networks by how well they do on --split, in place of the mean"
    )
    bundle.add_argument(
        "--debias", action="store_true", help="correct the linear bias of what they say together, fitted on --split"
    )
    bundle.add_argument("--thresholds", type=path, help="quality thresholds for its hands, of boneage calibrate")
    bundle.add_argument("--split", default="validation", help="of the first run's dataset (default: validation)")
    bundle.add_argument("--data", type=path, help="folder of built datasets (default: the first run's)")


def _add_networks(parser: argparse.ArgumentParser) -> None:
    for task in ("segmentation", "landmarks"):
        parser.add_argument(f"--{task}", type=path, required=True, help="run of that task, a bundle, or shipped")


def _mine(options: argparse.Namespace, config_arguments: list[str]) -> None:
    from boneage_jax.config import loading
    from boneage_jax.workflows import mining

    request = mining.MiningRequest(
        loading.load(config_arguments),
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


def _calibrate(options: argparse.Namespace, _: list[str]) -> None:
    from boneage_jax.workflows import calibrate

    request = calibrate.CalibrateRequest(
        options.dataset,
        options.data,
        options.segmentation,
        options.landmarks,
        options.out,
        options.split,
        options.share,
        options.views,
        not options.coarse_only,
    )
    print(calibrate.as_text(calibrate.write(request), options.out))


def _register(options: argparse.Namespace, _: list[str]) -> None:
    from boneage_jax.canvas import Canvas
    from boneage_jax.workflows import register

    request = register.RegisterRequest(
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
        fine_stage=not options.coarse_only,
        drop_flagged=options.drop_flagged,
        annotations=options.annotations,
        thresholds=options.thresholds,
    )
    print(register.register(request))


def _predict(options: argparse.Namespace, _: list[str]) -> int:
    from boneage_jax.workflows import assess, register

    request = assess.AssessRequest(
        tuple(options.images),
        tuple(options.run),
        step=options.step,
        bundle=options.bundle,
        segmentation=options.segmentation,
        landmarks=options.landmarks,
        thresholds=options.thresholds,
        as_is=options.as_is,
        sex=options.sex,
        sex_csv=options.sex_csv,
        sex_conflict=options.sex_conflict,
        views=options.views,
        batch_size=options.batch_size,
    )
    text, status = register.predict(request, options.out, options.page)
    print(text)
    return status


def _bundle(options: argparse.Namespace, _: list[str]) -> None:
    from boneage_jax.workflows import bundling

    request = bundling.BundleRequest(
        options.segmentation,
        options.landmarks,
        tuple(options.run),
        options.out,
        weights=options.weights,
        debias=options.debias,
        split=options.split,
        data=options.data,
        thresholds=options.thresholds,
    )
    print(bundling.make(request))
