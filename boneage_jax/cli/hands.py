"""Commands about hands: masks, key points, registration, and radiographs all the way to ages."""

from __future__ import annotations

import argparse
import dataclasses
import pathlib

from boneage_jax.cli.options import command
from boneage_jax.options import option, request_of
from boneage_jax.workflows.requests import (
    AssessRequest,
    BundleRequest,
    CalibrateRequest,
    ExportRequest,
    LabelledRequest,
    MiningRequest,
    RegisterRequest,
    StressRequest,
)


@dataclasses.dataclass(frozen=True)
class AssessOptions(AssessRequest):
    """What to read, and where the ages go."""

    out: pathlib.Path | None = option(
        None,
        "folder for tables (CSV, JSON), a page of all ages and one for each radiograph, and a manifest; or a .csv or "
        ".json file for that alone",
        short="-o",
    )


def add(commands: argparse._SubParsersAction) -> None:
    """Declares them."""
    command(
        commands,
        "mine",
        _mine,
        summary="positive mining: from a few masks to many, round by round; the same command goes on",
        example="boneage mine --config=configs/segmentation.py --config.data.name=rsna_bone_age/full --masks masks "
        "--out m\n"
        "boneage mine --config=configs/segmentation.py:tiny --labelled 100 --correct 50 --measure test --out mining",
        request=MiningRequest,
        takes_config=True,
    )
    calibrate = commands.add_parser("calibrate", help="fit quality thresholds, ages of one's own readers, intervals")
    calibrate_commands = calibrate.add_subparsers(required=True, metavar="COMMAND")
    command(
        calibrate_commands,
        "calibrate quality",
        _calibrate_quality,
        summary="choose quality thresholds for a pair of networks on ordinary hands",
        example="boneage calibrate quality hand_phantom/raw --segmentation runs/segmentation "
        "--landmarks runs/landmarks \\\n"
        "    --split 'validation[:200]' --out runs/thresholds.json\n"
        "boneage register hand_phantom/raw --segmentation runs/segmentation --landmarks runs/landmarks \\\n"
        "    --thresholds runs/thresholds.json",
        request=CalibrateRequest,
    )
    command(
        calibrate_commands,
        "calibrate ages",
        _calibrate_ages,
        summary="fit a line for each sex to about 100 radiographs that one's own readers have labelled",
        example="boneage calibrate ages radiographs/labels.csv --out ages.json     # file,male,boneage\n"
        "boneage assess new/ --sex F --age-calibration ages.json\n"
        "boneage calibrate ages labels.csv --images radiographs --into clinic.safetensors\n"
        "boneage assess new/ --sex F --bundle clinic.safetensors",
        request=LabelledRequest,
    )
    command(
        calibrate_commands,
        "calibrate intervals",
        _calibrate_intervals,
        summary="fit intervals that hold 80% and 90% of the readings to labelled radiographs that no network has seen",
        example="boneage calibrate intervals radiographs/labels.csv --out intervals.json     # file,male,boneage\n"
        "boneage assess new/ --sex F --intervals intervals.json\n"
        "boneage calibrate intervals labels.csv --images radiographs --into clinic.safetensors",
        request=LabelledRequest,
    )
    command(
        commands,
        "register",
        _register,
        summary="lay every hand of a dataset on the common canvas: a new dataset of hands and regions",
        example="boneage register hand_phantom/raw --segmentation runs/segmentation --landmarks runs/landmarks "
        "--data data\n"
        "boneage register rsna_bone_age/full --segmentation runs/s --landmarks runs/l --regions whole,A,B,C\n"
        "boneage register rsna_bone_age/full --segmentation runs/s --landmarks runs/l --drop-flagged \\\n"
        "    --regions A,wrist=1500:2000,400:1200@250x400 --name wrists\n"
        "boneage register rsna_bone_age/full --segmentation runs/s --landmarks runs/l --regions whole \\\n"
        "    --canvas 1040,800,400,50,400,800 --name small\n\n"
        "the same command goes on where it was cut short",
        request=RegisterRequest,
    )
    command(
        commands,
        "assess",
        _assess,
        summary="bone age of radiographs (PNG, JPEG, DICOM, TIFF, BMP, WebP), by the whole pipeline",
        example="boneage assess hand.png --sex F\n"
        "boneage assess hand.png --sex F --chronological-age 96 -o ages\n"
        "boneage assess radiographs/ --sex-csv sexes.csv -o ages\n"
        "boneage assess study/ -o ages --reports sr,sc,fhir\n"
        "boneage assess radiographs/ --sex F --run runs/whole --run runs/carpals \\\n"
        "    --segmentation runs/segmentation --landmarks runs/landmarks\n"
        "boneage assess registered/ --as-is --sex F --run runs/tiny\n\n"
        "with -o the same command goes on where it was cut short\n\n"
        "networks that are not named are those of the bundle rsna, which learnt from the RSNA challenge's images;\n"
        "--bundle phantom_only takes those that learnt from phantoms only: a research demonstration\n\n"
        "exit status: 0 every radiograph was read; 4 some could not be used, each has its reason in the table; 2 none "
        "could,\nor the command cannot be carried out",
        request=AssessOptions,
    )
    command(
        commands,
        "stress",
        _stress,
        summary="how ages change when radiographs are turned, exposed, blurred, cropped, marked: 32 changes",
        example="boneage stress hand_phantom/raw --split test --images 50 --bundle phantom_only --out stress\n"
        "boneage stress rsna_bone_age/full --run runs/fine-0 --only exposure --only 'JPEG*' --out stress-fine\n\n"
        "the same command goes on where it was cut short",
        request=StressRequest,
    )
    command(
        commands,
        "bundle",
        _bundle,
        summary="put networks into one small file for boneage assess",
        example="boneage bundle --segmentation runs/s --landmarks runs/l --run runs/phantom-only "
        "--out bundle.safetensors",
        request=BundleRequest,
    )
    command(
        commands,
        "export",
        _export,
        summary="write a trained network so that it runs without this package: StableHLO, and ONNX",
        example="boneage export rsna:age0 --out age0\n"
        "boneage export runs/fine-0 --out fine-0 --batch-size 16 --platforms cpu,cuda,tpu\n"
        "boneage export rsna:segmentation --out segmentation --onnx",
        request=ExportRequest,
    )


def _mine(options: argparse.Namespace, config_arguments: list[str]) -> None:
    from boneage_jax.config import loading
    from boneage_jax.workflows import mining

    request = request_of(MiningRequest, options, config=loading.load(config_arguments))
    print(mining.as_text(request, mining.mine(request)))


def _calibrate_ages(options: argparse.Namespace, _: list[str]) -> None:
    from boneage_jax.workflows import calibrate_ages

    print(calibrate_ages.ages(request_of(LabelledRequest, options)))


def _calibrate_intervals(options: argparse.Namespace, _: list[str]) -> None:
    from boneage_jax.workflows import calibrate_ages

    print(calibrate_ages.intervals(request_of(LabelledRequest, options)))


def _calibrate_quality(options: argparse.Namespace, _: list[str]) -> None:
    from boneage_jax.workflows import calibrate

    request = request_of(CalibrateRequest, options)
    print(calibrate.as_text(calibrate.write(request), request.out))


def _register(options: argparse.Namespace, _: list[str]) -> None:
    from boneage_jax.workflows import register

    print(register.register(request_of(RegisterRequest, options)))


def _assess(options: argparse.Namespace, _: list[str]) -> int:
    from boneage_jax.workflows import assess_command

    request = request_of(AssessOptions, options)
    text, status = assess_command.assess(request, request.out)
    print(text)
    return status


def _stress(options: argparse.Namespace, _: list[str]) -> None:
    from boneage_jax.workflows import stress, stress_page

    print(stress_page.write(stress.stress(request_of(StressRequest, options))))


def _bundle(options: argparse.Namespace, _: list[str]) -> None:
    from boneage_jax.workflows import bundling

    print(bundling.make(request_of(BundleRequest, options)))


def _export(options: argparse.Namespace, _: list[str]) -> None:
    from boneage_jax.workflows import exporting

    print(exporting.make(request_of(ExportRequest, options)))
