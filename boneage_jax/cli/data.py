"""Commands about images: datasets, phantoms, annotations."""

from __future__ import annotations

import argparse
import pathlib

from boneage_jax.cli.options import ages, command, counts, path, positive, renames, size


def add(commands: argparse._SubParsersAction) -> None:
    """Declares them."""
    data = commands.add_parser("data", help="build datasets, describe built ones")
    data_commands = data.add_subparsers(required=True, metavar="COMMAND")

    build = command(
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
        "--out", type=path, default=pathlib.Path("data"), help="folder of all built datasets (default: data)"
    )
    build.add_argument(
        "--from",
        dest="source",
        type=path,
        help="folder or zip of the RSNA download: zips, folders, or images with a CSV",
    )
    build.add_argument(
        "--workers",
        type=positive,
        default=None,
        help="processes (default: all processors); does not change the result",
    )
    build.add_argument(
        "--missing", choices=("error", "skip"), default="error", help="rows without an image, images without a row"
    )
    build.add_argument(
        "--validation",
        type=float,
        metavar="SHARE",
        help="of training images that become the validation split where the data name none (default: 0.08; 0 for none)",
    )
    build.add_argument("--size", type=size, help="fit images into HEIGHTxWIDTH pixels, as in 500x375")
    build.add_argument(
        "--encoding",
        choices=("png", "jpeg", "raw"),
        default="png",
        help="how --size images are stored; jpeg and raw are cheaper to decode",
    )
    build.add_argument("--quality", type=positive, default=95, help="of JPEG (default: 95)")
    build.add_argument("--counts", type=counts, help="phantoms as TRAIN,VALIDATION,TEST in place of the config's")

    info = command(
        data_commands,
        "data info",
        _data_info,
        "describe a built dataset",
        "boneage data info hand_phantom/tiny --out data",
    )
    info.add_argument("dataset", help="as in hand_phantom/tiny")
    info.add_argument(
        "--out", type=path, default=pathlib.Path("data"), help="folder of all built datasets (default: data)"
    )
    info.add_argument("--json", action="store_true", help="print JSON")

    phantom = command(
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
    what.add_argument("--ages", type=ages, metavar="FIRST:LAST:STEP", help="the same child at several ages")
    what.add_argument("--plate", action="store_true", help="different children by age and sex")
    phantom.add_argument("--sex", default="F", help="M or F (default: F)")
    phantom.add_argument("--seed", type=int, default=0, help="same seed, same child, same picture (default: 0)")
    phantom.add_argument("--size", type=size, default=(1040, 800), help="HEIGHTxWIDTH in pixels (default: 1040x800)")
    phantom.add_argument("--view", default="plain", help="plain, raw (all disturbances) or registered (default: plain)")
    phantom.add_argument(
        "--set", dest="counterfactual", default="", metavar="BONES=MONTHS", help="age of some bones, as in carpals=120"
    )
    phantom.add_argument("--truth", action="store_true", help="write mask, bones and points beside the picture too")
    phantom.add_argument("--out", type=path, required=True, help=".png, or .gif with --ages")

    annotations = commands.add_parser("annotations", help="masks, points and boxes of annotation tools")
    annotations_commands = annotations.add_subparsers(required=True, metavar="COMMAND")
    convert = command(
        annotations_commands,
        "annotations convert",
        _annotations_convert,
        "read COCO, VIA, Labelme, Pascal VOC or mask folders; write COCO or a mask folder",
        "boneage annotations convert via_project.json --images radiographs --out coco.json\n"
        "boneage annotations convert bonet.json --rename 'thumb tip=1,capitate=17' --out points.json\n"
        "boneage annotations convert labelme/ --out masks/",
    )
    convert.add_argument("source", type=path, help="file or folder; the format is told from the content")
    convert.add_argument("--out", type=path, required=True, help="COCO .json, or a folder for masks")
    convert.add_argument("--images", type=path, help="folder of the images, where the format keeps no sizes")
    convert.add_argument("--rename", type=renames, default={}, help="NEW=OLD,... for names of points")


def _data_build(options: argparse.Namespace, _: list[str]) -> None:
    from boneage_jax import parallel
    from boneage_jax.workflows import build

    workers = options.workers or parallel.default_workers()
    dataset = build.build(
        options.dataset,
        options.out,
        source=options.source,
        workers=workers,
        missing=options.missing,
        validation=options.validation,
        size=options.size,
        encoding=options.encoding,
        quality=options.quality,
        counts=options.counts,
    )
    print(build.as_text(build.describe(options.out, dataset.name)))


def _data_info(options: argparse.Namespace, _: list[str]) -> None:
    from boneage_jax.workflows import build

    description = build.describe(options.out, options.dataset)
    print(build.as_json(description) if options.json else build.as_text(description))


def _phantom(options: argparse.Namespace, _: list[str]) -> None:
    from boneage_jax.phantom import export

    height, width = options.size
    subject = export.Subject(options.sex, options.seed, height, width, options.view, options.counterfactual)
    written = [options.out]
    if options.plate:
        export.write_plate(subject, options.out)
    elif options.ages:
        export.write_sweep(subject, options.ages, options.out)
    else:
        written = export.write_one(subject, options.age, options.out, with_truth=options.truth)
    print("\n".join(str(path) for path in written))


def _annotations_convert(options: argparse.Namespace, _: list[str]) -> None:
    from boneage_jax.data.annotations import convert

    print(convert.convert(options.source, options.out, folder=options.images, names=options.rename))
