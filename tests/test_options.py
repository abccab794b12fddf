"""Options that come from the fields of a dataclass: parsing, help, limits, messages."""

from __future__ import annotations

import argparse
import dataclasses
import pathlib
import subprocess
import sys
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boneage_jax.errors import UserError
from boneage_jax.files import local
from boneage_jax.options import add_options, numbers, option, request_of, size, whole_numbers


@dataclasses.dataclass(frozen=True)
class Span:
    """A small parsed type."""

    first: int
    last: int

    @classmethod
    def parse(cls, text: str) -> Span:
        """Reads FIRST-LAST."""
        first, dash, last = text.partition("-")
        if not dash:
            raise ValueError("FIRST-LAST, as in 1-3")
        return cls(int(first), int(last))

    def __str__(self) -> str:
        return f"{self.first}-{self.last}"


class Strict:
    """A type whose errors are whole messages."""

    @classmethod
    def parse(cls, text: str) -> Strict:
        raise UserError(f"strict {text}: never good enough")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Base:
    """What requests have in common."""

    data: pathlib.Path = option(pathlib.Path("data"), "folder of built datasets")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request(Base):
    """Every kind of option."""

    images: tuple[pathlib.Path, ...] = option(help="radiographs", positional=True, metavar="IMAGE|FOLDER")
    out: pathlib.Path = option(help="where everything goes", short="-o")
    page: pathlib.Path | None = option(None, "page to write")
    name: str = option("", "of the new dataset", default_text="the source's")
    split: str = option("test", "100% of what is scored")
    runs: tuple[pathlib.Path, ...] = option((), "folder of a run; or several", flag="--run", repeat=True)
    splits: tuple[str, ...] = option((), "as in train,test", default_text="all")
    depths: tuple[int, ...] = option((), "of blocks")
    widths: tuple[float, ...] = option((0.5, 1.0, 2.0), "factors")
    rounds: int = option(6, "at most", low=1)
    folds: int = option(0, "parts", low=0)
    lease: float = option(60.0, "of silence", above=0, unit="seconds")
    share: float | None = option(None, "of images", low=0, high=1, metavar="SHARE")
    views: Literal[1, 2, 6] = option(6, "that a network takes")
    mode: Literal["auto", "on", "off"] = option("auto", "whether to look for others")
    level: int = option(1, "chosen from a list", choices=(1, 3))
    size: tuple[int, int] | None = option(None, "in pixels", parse=size)
    span: Span | None = option(Span(1, 3), "from the first to the last")
    strict: Strict | None = option(None, "refused")
    report: bool = option(False, "write a page too")
    scaling: bool = option(True, "do not compile for a single chip", negated="--no-scaling")
    config: dict | None = None
    """No option."""


def parser_of(request=Request, **chosen):
    parser = argparse.ArgumentParser(prog="program")
    add_options(parser, request, **chosen)
    return parser


def asked(*arguments, **given):
    return request_of(Request, parser_of().parse_args(["--out=o", "hand.png", *arguments]), **given)


def test_what_is_not_given_has_its_default():
    assert asked() == Request(images=(pathlib.Path("hand.png"),), out=pathlib.Path("o"))


@pytest.mark.parametrize(
    ("arguments", "name", "value"),
    [
        (["b.png"], "images", (pathlib.Path("hand.png"), pathlib.Path("b.png"))),
        (["--data=d"], "data", pathlib.Path("d")),
        (["--page", "p.html"], "page", pathlib.Path("p.html")),
        (["-o", "p"], "out", pathlib.Path("p")),
        (["--name=x"], "name", "x"),
        (["--run", "a", "--run", "b:c"], "runs", (pathlib.Path("a"), pathlib.Path("b:c"))),
        (["--splits=train, test,"], "splits", ("train", "test")),
        (["--depths=4,05"], "depths", (4, 5)),
        (["--widths=1,2e-1"], "widths", (1.0, 0.2)),
        (["--rounds=1"], "rounds", 1),
        (["--folds=0"], "folds", 0),
        (["--lease=0.5"], "lease", 0.5),
        (["--share=1"], "share", 1.0),
        (["--views=2"], "views", 2),
        (["--mode=off"], "mode", "off"),
        (["--level=3"], "level", 3),
        (["--size=500x375"], "size", (500, 375)),
        (["--span=2-9"], "span", Span(2, 9)),
        (["--report"], "report", True),
        (["--no-scaling"], "scaling", False),
    ],
)
def test_what_is_given_is_read_by_its_type(arguments, name, value):
    request = asked(*arguments)
    assert getattr(request, name) == value
    assert type(getattr(request, name)) is type(value)
    default = asked()
    assert dataclasses.replace(request, **{name: getattr(default, name)}) == default, "all else is as before"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--rounds=0"], "argument --rounds: found 0, expected a whole number above 0"),
        (["--rounds=few"], "argument --rounds: found 'few', expected a whole number above 0"),
        (["--folds=-1"], "argument --folds: found -1, expected a whole number, 0 or more"),
        (["--folds=1.5"], "argument --folds: found '1.5', expected a whole number, 0 or more"),
        (["--lease=0"], "argument --lease: found 0, expected a number of seconds above 0"),
        (["--lease=nan"], "argument --lease: found nan, expected a number of seconds above 0"),
        (["--share=1.5"], "argument --share: found 1.5, expected a number, 0 or more, at most 1"),
        (["--depths=4,-5"], "argument --depths: found '4,-5', expected whole numbers, as in 250,500,1000"),
        (["--depths=²"], "argument --depths: found '²', expected whole numbers, as in 250,500,1000"),
        (["--widths=1,x"], "argument --widths: found '1,x', expected numbers, as in 0.5,1,2"),
        (["--views=3"], "argument --views: invalid choice: 3 (choose from 1, 2, 6)"),
        (["--mode=maybe"], "argument --mode: invalid choice: 'maybe' (choose from 'auto', 'on', 'off')"),
        (["--size=big"], "argument --size: found 'big', expected HEIGHTxWIDTH, as in 500x375"),
        (["--span=1"], "argument --span: found '1', expected FIRST-LAST, as in 1-3"),
        (["--splitz=x"], "unrecognized arguments: --splitz=x"),
    ],
)
def test_what_cannot_be_read_is_status_2(arguments, expected, capsys):
    with pytest.raises(SystemExit) as leave:
        asked(*arguments)
    assert leave.value.code == 2
    assert capsys.readouterr().err.endswith(f"program: error: {expected}\n")


def test_a_field_without_a_default_is_required(capsys):
    for arguments, missing in ((["--out=o"], "IMAGE|FOLDER"), (["hand.png"], "-o/--out")):
        with pytest.raises(SystemExit):
            parser_of().parse_args(arguments)
        assert f"the following arguments are required: {missing}" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["gs://b/x"], ["--data=gs://b/x"], ["--page=gs://b/x"], ["--run=gs://b/x"]])
def test_addresses_are_refused(arguments):
    with pytest.raises(UserError, match=r"^gs://b/x: an address, expected a path of this machine's file system"):
        asked(*arguments)


def test_messages_of_parsed_types_are_passed_on():
    with pytest.raises(UserError, match=r"^strict x: never good enough$"):
        asked("--strict=x")


@pytest.mark.parametrize(
    "line",
    [
        "IMAGE|FOLDER radiographs",
        "--data DATA folder of built datasets (default: data)",
        "-o OUT, --out OUT where everything goes",
        "--page PAGE page to write",
        "--name NAME of the new dataset (default: the source's)",
        "--split SPLIT 100% of what is scored (default: test)",
        "--run RUN folder of a run; or several",
        "--splits SPLITS as in train,test (default: all)",
        "--depths DEPTHS of blocks",
        "--widths WIDTHS factors (default: 0.5,1,2)",
        "--folds FOLDS parts (default: 0)",
        "--lease LEASE of silence (default: 60)",
        "--share SHARE of images",
        "--views {1,2,6} that a network takes (default: 6)",
        "--mode {auto,on,off} whether to look for others (default: auto)",
        "--span SPAN from the first to the last (default: 1-3)",
        "--report write a page too",
        "--no-scaling do not compile for a single chip",
    ],
)
def test_the_help_has_every_option_with_its_default(line):
    lines = [
        " ".join(part.split())
        for part in parser_of().format_help().replace("\n                        ", " ").split("\n")
    ]
    assert line in lines


def test_some_of_the_options():
    namespace = parser_of(only=("images", "out", "rounds")).parse_args(["hand.png", "--out=o", "--rounds=2"])
    assert set(vars(namespace)) == {"images", "out", "rounds"}
    request = request_of(Request, namespace, split="train", rounds=3, config={"a": 1})
    assert (request.split, request.rounds, request.config) == ("train", 3, {"a": 1})
    without = vars(parser_of(without=("data",)).parse_args(["hand.png", "--out=o"]))
    assert set(without) == {field.name for field in dataclasses.fields(Request)} - {"data", "config"}


def test_groups_of_options():
    parser = argparse.ArgumentParser(prog="program")
    add_options(parser.add_mutually_exclusive_group(required=True), Request, only=("size", "report"))
    assert request_of(Request, parser.parse_args(["--report"]), images=(), out=pathlib.Path("o")).report
    with pytest.raises(SystemExit):
        parser.parse_args(["--report", "--size=1x1"])


def test_paths_are_read_by_one_function():
    read = {action.dest: action.type for action in parser_of()._actions}
    assert {name for name, kind in read.items() if kind is local} == {"images", "data", "out", "page", "runs"}


def test_mistakes_of_a_programmer():
    with pytest.raises(ValueError, match=r"^Request\.config: no such option, expected one of data, images"):
        parser_of(only=("config",))

    @dataclasses.dataclass(frozen=True)
    class NeverOff:
        on: bool = option(True, "a switch")

    @dataclasses.dataclass(frozen=True)
    class Unreadable:
        size: tuple[int, int] = option((1, 1), "in pixels")

    @dataclasses.dataclass(frozen=True)
    class Either:
        some: int | str = option(1, "of two types")

    with pytest.raises(TypeError, match="on: a switch that is on needs `negated`"):
        parser_of(NeverOff)
    for request in (Unreadable, Either):
        with pytest.raises(TypeError, match="does not say how it is read, expected `parse`"):
            parser_of(request)


@given(st.lists(st.integers(0, 10**9), min_size=1))
def test_whole_numbers_are_read_as_they_are_printed(values):
    assert whole_numbers(",".join(map(str, values))) == tuple(values)


@given(st.lists(st.floats(allow_nan=False), min_size=1))
def test_numbers_are_read_as_they_are_printed(values):
    assert numbers(",".join(map(str, values))) == tuple(values)


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_sizes_are_read_as_they_are_printed(height, width):
    assert size(f"{height}x{width}") == (height, width)


def test_no_library_of_arrays_is_loaded():
    code = "import sys, boneage_jax.options; print(sorted({'jax', 'numpy', 'cv2'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
