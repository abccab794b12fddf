"""Commands about images: datasets, phantoms, annotations."""

from __future__ import annotations

import argparse

from boneage_jax.cli.options import command
from boneage_jax.options import add_options, request_of
from boneage_jax.phantoms.request import PhantomRequest
from boneage_jax.workflows.requests import BuildRequest, ConvertRequest, DescribeRequest


def add(commands: argparse._SubParsersAction) -> None:
    """Declares them."""
    data = commands.add_parser("data", help="build datasets, describe built ones")
    data_commands = data.add_subparsers(required=True, metavar="COMMAND")
    command(
        data_commands,
        "data build",
        _data_build,
        summary="build a TFDS dataset: phantoms, or RSNA images from a download",
        example="boneage data build hand_phantom/tiny --out data\n"
        "boneage data build rsna_bone_age --from downloads/rsna --out data --workers 8\n"
        "boneage data build rsna_bone_age --from downloads/rsna --out data --size 500x375 --encoding jpeg",
        request=BuildRequest,
    )
    command(
        data_commands,
        "data info",
        _data_info,
        summary="describe a built dataset",
        example="boneage data info hand_phantom/tiny --out data",
        request=DescribeRequest,
    )
    phantom = command(
        commands,
        "phantom",
        _phantom,
        summary="draw hands of any bone age, with exact truth: an image, a strip or an animation",
        example="boneage phantom --age 96 --sex F --out hand.png\n"
        "boneage phantom --age 96 --sex F --set carpals=132 --truth --out ahead.png\n"
        "boneage phantom --ages 0:240:6 --sex M --size 520x400 --out growing.gif\n"
        "boneage phantom --plate --view raw --size 260x200 --out plate.png",
    )
    either = ("age", "ages", "plate")
    add_options(phantom.add_mutually_exclusive_group(required=True), PhantomRequest, only=either)
    add_options(phantom, PhantomRequest, without=either)

    annotations = commands.add_parser("annotations", help="masks, points and boxes of annotation tools")
    annotations_commands = annotations.add_subparsers(required=True, metavar="COMMAND")
    command(
        annotations_commands,
        "annotations convert",
        _annotations_convert,
        summary="read COCO, VIA, Labelme, Pascal VOC or mask folders; write COCO or a mask folder",
        example="boneage annotations convert via_project.json --images radiographs --out coco.json\n"
        "boneage annotations convert bonet.json --rename 'thumb tip=1,capitate=17' --out points.json\n"
        "boneage annotations convert labelme/ --out masks/",
        request=ConvertRequest,
    )


def _data_build(options: argparse.Namespace, _: list[str]) -> None:
    from boneage_jax.data import describe
    from boneage_jax.workflows import build

    request = request_of(BuildRequest, options)
    dataset = build.build(request)
    print(describe.as_text(describe.describe(request.out, dataset.name)))


def _data_info(options: argparse.Namespace, _: list[str]) -> None:
    from boneage_jax.data import describe

    request = request_of(DescribeRequest, options)
    description = describe.describe(request.out, request.dataset)
    print(describe.as_json(description) if request.json else describe.as_text(description))


def _phantom(options: argparse.Namespace, _: list[str]) -> None:
    from boneage_jax.phantoms import export

    request = request_of(PhantomRequest, options)
    print("\n".join(str(path) for path in export.write(request)))


def _annotations_convert(options: argparse.Namespace, _: list[str]) -> None:
    from boneage_jax.data.annotations import convert

    request = request_of(ConvertRequest, options)
    print(convert.convert(request.source, request.out, folder=request.images, names=request.rename or {}))
