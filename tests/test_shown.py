"""Commands that are printed can be run as they stand."""

import os
import pathlib
import shlex
import subprocess

import pytest

from boneage_jax import cli, resources, shown
from boneage_jax.data.sources import Dataset
from boneage_jax.errors import UserError
from boneage_jax.options import request_of
from boneage_jax.workflows import build
from boneage_jax.workflows.requests import BuildRequest

NASTY = [
    "a b",
    "it's",
    'say "x"',
    "$HOME",
    "a;b",
    "*",
    "[1]",
    "back\\slash",
    "line\nbreak",
    "é ü",
    "~",
    "-x",
    "gs:",
    "!",
]


@pytest.mark.parametrize("name", NASTY, ids=repr)
def test_a_shell_reads_the_words_that_were_meant(name, tmp_path):
    stand_in = tmp_path / "boneage"
    stand_in.write_text('#!/bin/sh\nprintf "%s\\0" "$@"\n')
    stand_in.chmod(0o755)
    line = shown.command("evaluate", pathlib.Path(name), f"--split={name}")
    done = subprocess.run(
        ["bash", "-c", line], env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, capture_output=True, check=True
    )
    words = done.stdout.decode().split("\0")[:-1]
    assert words == ["evaluate", f"./{name}" if name == "-x" else name, f"--split={name}"]
    assert pathlib.Path(cli._parse(shlex.split(line)[1:])[0].run) == pathlib.Path(name)


@pytest.mark.parametrize(
    "name",
    [
        "hand_phantom/tiny",
        "hand_phantom/raw_tiny",
        "hand_phantom/only_carpals",
        "hand_phantom/tiny_20-8-8",
        "hand_phantom/registered_104x80_png_48-24-30",
        "hand_phantom/raw_tiny_64x48_jpeg80",
        "rsna_bone_age/full",
        "rsna_bone_age/500x375_raw",
        "rsna_bone_age/500x375_jpeg95",
    ],
)
def test_a_dataset_that_is_missing_is_made_by_what_is_shown(name):
    """Parsed by the command line, named by the builder: the name that was asked for."""
    options, _ = cli._parse(shlex.split(shown.to_build(name, pathlib.Path("my data")))[1:])
    assert options.out == pathlib.Path("my data")
    dataset, _, config = options.dataset.partition("/")
    kind = resources.builder_module(dataset).Builder
    made = build._builder_config(kind, config, request_of(BuildRequest, options))
    assert f"{dataset}/{made.name}" == name
    assert (options.source is not None) == (dataset == "rsna_bone_age")


def test_registered_hands_are_made_from_their_source():
    line = shown.to_build("registered_hands/rsna_bone_age-full", pathlib.Path("my data"))
    first, _, second = line.partition(" && ")
    assert cli._parse(shlex.split(first)[1:])[0].dataset == "rsna_bone_age/full"
    register, _ = cli._parse(shlex.split(second)[1:])
    assert (register.dataset, register.data) == ("rsna_bone_age/full", pathlib.Path("my data"))
    named, _ = cli._parse(shlex.split(shown.to_build("registered_hands/wrists", pathlib.Path("d")))[1:])
    assert (named.dataset, named.name) == ("DATASET", "wrists")


@pytest.mark.parametrize("name", [b"h\xff", b"it's \xfe\\ $HOME `x`\n", "h\u00f6he".encode()])
def test_names_that_are_no_text_come_back_byte_by_byte(name, tmp_path):
    """By a real shell."""
    line = shown.command("evaluate", pathlib.Path(os.fsdecode(name)))
    script = f"boneage() {{ printf '%s' \"$2\"; }}; {line}"
    done = subprocess.run(["bash", "-c", script.encode()], capture_output=True, check=True)
    assert done.stdout == name
    assert line.encode()


@pytest.mark.parametrize("name", ["foo/bar", "gs://bucket/x"])
def test_what_nobody_can_build_is_not_promised(name, tmp_path):
    with pytest.raises(UserError, match="boneage data build --help"):
        Dataset.open(tmp_path, name)
