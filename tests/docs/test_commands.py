"""Every command in the documentation parses with the real parsers; those marked to be run are run, at small sizes.

A block of commands or Python has a mark on the line before it: `<!-- run -->`, or `<!-- parse only: why -->`.
"""

import importlib.util
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys
import tomllib

import pytest

from boneage_jax import cli, config
from boneage_jax.config import loading
from boneage_jax.launching import job
from tests.conftest import LESS_OPTIMISED
from tests.docs.blocks import PAGES, ROOT, RUN, blocks_of, commands_of, sessions_of

LEAST_OPTIMISED = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
"""What is compiled here runs for a step or two."""

WITH_MARK = ("bash", "console", "python")
WITHOUT_MARK = ("", "text", "diff", "toml", "yaml", "json", "csv", "bibtex")
OTHER_PROGRAMS = {
    "rsna_bundle.sh",
    "rsna_levers.sh",
    "printf",
    "tensorboard",
    "jupyter",
    ".",
    "rm",
    "echo",
    "apt-get",
    "pre-commit",
}
"""Programs that the documentation names and that are not ours to check."""

each_page = pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])


@each_page
def test_every_block_is_marked(page):
    for block in blocks_of(page):
        assert block.language in (*WITH_MARK, *WITHOUT_MARK), f"{block.place}: a block of {block.language!r}"
        # What extend.md shows of files is carried out by the tests that it names.
        is_excerpt = block.language == "python" and ("import " not in block.text or page.name == "extend.md")
        if block.language in WITH_MARK:
            assert block.mark or is_excerpt, (
                f"{block.place}: name <!-- run --> or <!-- parse only: why --> on the line before"
            )
            assert block.mark == RUN or block.reason or is_excerpt, f"{block.place}: say why it is not run"
        else:
            assert not block.mark, f"{block.place}: nothing to run in {block.language}"
            for line in block.text.splitlines():
                assert not re.match(r"(boneage|make|pip|python3?) [a-z-]", line) or page.name == "configs.md", (
                    block.place
                )


@each_page
def test_every_command_parses(page):
    for block in blocks_of(page):
        if block.language == "python":
            compile(block.text, block.place, "exec")
        if block.language not in ("bash", "console"):
            continue
        for words in commands_of(block.text if block.language == "bash" else sessions_of(block.text)):
            try:
                check(words)
            except (SystemExit, Exception) as error:
                pytest.fail(f"{block.place}: {shlex.join(words)}\n{type(error).__name__}: {error}")


def check(words: list[str]) -> None:
    """Raises, or ends the process, where a command could not be carried out as it is written."""
    program = words[0].rsplit("/", 1)[-1]
    if program == "boneage":
        check_boneage(words[1:])
    elif program == "make":
        targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M)
        for word in words[1:]:
            assert word in targets or re.match(r"[A-Z]+=", word), f"no target {word!r}; there are {targets}"
    elif program in ("python", "python3") and words[1] == "-m":
        check_module(words[2], words[3:])
    elif program == "python" and words[1].endswith("/read.py"):
        pass  # written by boneage export; tests/workflows/test_export.py runs it
    elif program == "pip":
        check_pip(words[1:])
    else:
        assert program in OTHER_PROGRAMS, f"unknown program {program!r}"


def check_boneage(words: list[str]) -> None:
    """Parses a command of ours; a config that it names is read and validated with all its settings."""
    if words in (["--help"], ["--version"]):
        return
    _, config_arguments = cli._parse(words)
    if config_arguments:
        for argument in config_arguments:
            key = re.match(r"--config\.([^=]+)", argument)
            assert not key or key[1] in config.all_keys(), f"no setting {argument}"  # old names would be read too
        loading.load(config_arguments)


def check_module(module: str, words: list[str]) -> None:
    """A module that is run exists, and knows the options that it is given."""
    if module in ("pip", "venv", "pytest"):
        return
    found = importlib.util.find_spec(module)
    assert found is not None, f"no module {module}"
    source = pathlib.Path(found.origin or "")
    if source.name == "__init__.py":
        source = source.with_name("__main__.py")
    if module.startswith("launch."):
        job.read(ROOT / words[0])
        assert set(words[1:]) <= {"--dry-run"}
        return
    text = source.read_text() + (source.parent / "common.py").read_text() * module.startswith("benchmarks.")
    for word in words:
        option = word.partition("=")[0]
        assert not option.startswith("--") or f'"{option}"' in text, f"{module} has no {option}"


def check_pip(words: list[str]) -> None:
    """Extras of this package that pip is asked for exist."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for word in words:
        named = re.fullmatch(r"\.\[(.*)\]", word)
        for extra in named[1].split(",") if named else ():
            assert extra in extras, f"no extra {extra!r}; there are {', '.join(extras)}"


STARTED = [str(page.relative_to(ROOT)) for page in PAGES if any(block.mark == RUN for block in blocks_of(page))]


@pytest.fixture(scope="module")
def problems(request, tmp_path_factory) -> dict[str, str]:
    """What went wrong on each page that is asked about, all carried out by one process."""
    pages = [item.callspec.params["page"] for item in request.session.items if "problems" in item.fixturenames]
    done = subprocess.run(
        [sys.executable, "-m", "tests.docs.run_blocks", *pages],
        cwd=tmp_path_factory.mktemp("desk"),
        env={**os.environ, "XLA_FLAGS": f"{LESS_OPTIMISED} {LEAST_OPTIMISED}", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    print(done.stdout)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"page"')]
    return {line["page"]: line["problem"] for line in lines}


@pytest.mark.engine
@pytest.mark.parametrize("page", STARTED)
def test_marked_blocks_run(page, problems):
    assert not problems[page]
