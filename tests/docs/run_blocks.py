"""Carries out the marked blocks of the documentation, in one process, at small sizes.

    python -m tests.docs.run_blocks PAGE PAGE ...        # in a folder that `desk` has laid out

Prints one line of JSON for each page: the page, the seconds of processor time it took, and what went wrong, empty where
nothing did. A process of its own, with one device and without the settings of the tests: what a reader has.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import pathlib
import re
import subprocess
import sys
import time
import traceback

from boneage_jax import cli
from boneage_jax.config import loading
from boneage_jax.workflows import build
from boneage_jax.workflows.requests import BuildRequest
from tests import rsna_layouts
from tests.docs.blocks import ROOT, RUN, Block, blocks_of, commands_of

SPLITS = ("train", "validation", "test")

DATASETS = {
    "hand_phantom/raw_tiny": "hand_phantom/raw_tiny",
    "hand_phantom/raw": "hand_phantom/raw_tiny",
    "hand_phantom/registered": "hand_phantom/tiny",
    "hand_phantom/tiny": "hand_phantom/tiny",
}
"""What stands in for each dataset of phantoms; `COUNTS` of it in training, validation and test."""

COUNTS = (12, 4, 8)

SIZE = "260x208"
"""Of single phantoms: that of `hand_phantom/raw_tiny`, so that no other has to be compiled."""

INSTEAD = {
    "": {"--size": SIZE, "--regions": "whole@260x200", "--workers": "1"},
    "data": {"--size": "500x375"},
    "phantom": {"--ages": "0:240:120"},
    "mine": {"--labelled": "10", "--rounds": "1", "--correct": "2"},
    "scaling": {"--images": "4,8,12"},
}
"""Values of options in place of those of the documentation, by command; `""` for all."""

ADDED = {
    "assess": ["--views=1", "--batch-size=2"],
    "register": ["--views=1", "--batch-size=4"],
    "importance": ["--images=8"],
    "paper": [
        "--dataset=hand_phantom/tiny",
        "--set=train.length=2 steps",
        "--set=train.batch_size=4",
        "--set=eval.batch_size=4",
    ],
}
"""Options added, by command."""

PYTHON = {"ba.load()": "ba.load(views=1, batch_size=2)"}
"""What stands in for calls in Python."""

SHORT = {
    "train.length": "2 steps",
    "train.batch_size": "4",
    "eval.batch_size": "4",
    "eval.every": "1 steps",
    "checkpoint.every": "1 steps",
}
TINY = {**SHORT, "model.widths": "(4,8)", "model.dense": "(8,)", "data.height": "48", "data.width": "36"}
CONFIGS = {
    "configs/tiny.py": TINY,
    "configs/m46.py": TINY,
    "configs/convnext.py": {**SHORT, "data.height": "64", "data.width": "48"},
    # Another network than that of the bundle, so without its weights: tests/train starts from weights.
    "configs/finetune.py": {
        **SHORT,
        "train.start": "",
        "model.depth": "10",
        "model.widths": "(8,16,24,32)",
        "data.height": "64",
        "data.width": "48",
    },
    "configs/phantom_only.py": {**SHORT, "data.fresh": f"raw@{SIZE}"},
    "configs/segmentation.py": {**SHORT, "data.height": "64", "data.width": "64"},
    "configs/paper/experiment.py": SHORT,
}
"""Settings added, by config."""

SWEEP = """from boneage_jax.sweeps.space import Sweep, choice

FIXED = {fixed}


def get_sweep() -> Sweep:
    return Sweep(config="configs/tiny.py", fixed=FIXED, space={{"train.seed": choice(0, 1)}}, trials=1)
"""
"""What stands in for a sweep's file."""


def small(words: list[str]) -> list[str]:
    """Returns a command of ours with small sizes in place of those of the documentation."""
    command = words[0]
    if words[:2] == ["data", "build"] and words[2] in DATASETS:
        return ["data", "build", DATASETS[words[2]], "--out=data", f"--counts={','.join(map(str, COUNTS))}"]
    if words[:2] == ["sweep", "start"]:
        words = [*words[:2], "small_sweep.py", *words[3:]]
    instead = {**INSTEAD[""], **INSTEAD.get(command, {})}
    done = [instead.get(before, word) for before, word in zip(["", *words], words, strict=False)]
    named = next((word.removeprefix("--config=") for word in words if word.startswith("--config=")), "")
    given = {word.partition("=")[0] for word in words}
    for key, value in CONFIGS.get(named.partition(":")[0], {}).items():
        if f"--config.{key}" not in given or key == "train.length":
            # A scaling study takes no other unit.
            done.append(f"--config.{key}={'1 epochs' if (command, key) == ('scaling', 'train.length') else value}")
    if named and "--config.data.name" not in given:
        done.append(f"--config.data.name={loading.load([f'--config={named}']).data.name}")
    done += [option for option in ADDED.get(command, []) if option.partition("=")[0] not in given]
    return [stand_in(word) for word in done]


def stand_in(word: str) -> str:
    """Returns a word with what stands in for the datasets that it names."""
    counts = "-".join(map(str, COUNTS))
    for name, other in DATASETS.items():
        word = re.sub(rf"(?<![\w/]){name}(?![\w/])", f"{other}_{counts}", word)
        source = "registered_hands/" + name.replace("/", "-")
        word = re.sub(rf"{source}(?!\w)", f"registered_hands/{other.replace('/', '-')}_{counts}", word)
    return word


def lay_out(folder: pathlib.Path) -> None:
    """Puts into a folder what a reader of any page has: a checkout, radiographs, a download in RSNA's layout."""
    for name in ("configs", "launch"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "small_sweep.py").write_text(SWEEP.format(fixed={**TINY, "data.name": stand_in("hand_phantom/tiny")}))
    raw = build.build(
        BuildRequest(
            "hand_phantom/raw_tiny", out=folder / "data", workers=2, counts=dict(zip(SPLITS, COUNTS, strict=True))
        )
    )
    children = {}
    for split, first in zip(SPLITS, (1377, 1386, 4360), strict=True):
        records = raw.split(split)
        rows = [records.row(n) for n in range(len(records))]
        children[split] = [
            rsna_layouts.Child(str(first + n), round(float(row["bone_age"])), bool(row["male"]), row["image"])
            for n, row in enumerate(rows)
        ]
    rsna_layouts.official(folder / "downloads" / "rsna", **children)
    (folder / "radiographs").mkdir()
    for name, child in zip(("anna", "ben", "clara"), children["train"], strict=False):
        (folder / "radiographs" / f"{name}.png").write_bytes(child.png)
    (folder / "hand.png").write_bytes(children["test"][0].png)
    (folder / "sexes.csv").write_text("file,male\nanna,0\nben,1\nclara,0\n")


def script_of(text: str) -> list[str | list[str]]:
    """Returns what a block does: our commands as words, lines of other programs as they are, for the shell."""
    ours = commands_of(text)
    if all(words[0] in ("boneage", "python") for words in ours):
        return list(ours)
    lines = text.replace("\\\n", " ").splitlines()
    return [commands_of(line)[0] if line.startswith("boneage ") else line for line in lines if commands_of(line)]


def carried_out(line: str | list[str]) -> int:
    """Carries a command out, ours at small sizes and in this process; returns its exit status."""
    if not isinstance(line, str) and line[0] == "boneage":
        try:
            return cli.main(small(line[1:]))
        except SystemExit as leave:  # a mistyped option
            return int(leave.code or 0)
    command = ["bash", "-c", line] if isinstance(line, str) else [sys.executable, *line[1:]]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    print(done.stderr, file=sys.stderr)
    return done.returncode


def carry_out(page: pathlib.Path) -> str:
    """Carries out the marked blocks of a page; returns what went wrong, empty where nothing did."""
    for block in blocks_of(page):
        if block.mark == RUN and (problem := problem_of(block)):
            return f"{block.place}: {problem}"
    return ""


def problem_of(block: Block) -> str:
    """Carries out a block; returns what went wrong, empty where nothing did."""
    if block.language == "python":
        text = functools.reduce(lambda text, pair: text.replace(*pair), PYTHON.items(), block.text)
        try:
            exec(compile(text, block.place, "exec"), {"__name__": "__main__"})
        except Exception:
            return traceback.format_exc()
        return ""
    for line in script_of(block.text):
        said = io.StringIO()
        try:
            with contextlib.redirect_stderr(said):
                status = carried_out(line)
        except Exception:
            return f"{line}\n{traceback.format_exc()}"
        if status:
            return f"{line}: exit status {status}\n{said.getvalue()}"
    return ""


def main() -> None:
    """Carries out the pages that are named on the command line, in the current folder."""
    output = sys.stdout
    lay_out(pathlib.Path.cwd())
    for name in sys.argv[1:]:
        start = time.process_time()
        with contextlib.redirect_stdout(io.StringIO()):
            problem = carry_out(ROOT / name)
        line = {"page": name, "seconds": round(time.process_time() - start, 1), "problem": problem}
        print(json.dumps(line), file=output, flush=True)


if __name__ == "__main__":
    main()
