"""Writes the pages of the reference that come from the code, while MkDocs builds the site.

Commands from the parser of `boneage`, settings and job files from their dataclasses, configs from their docstrings, the
API's pages from the package's folders, and the data cards, benchmarks and changelog from where they lie in the
repository. A hook of MkDocs: `mkdocs.yml` names this file, and nothing that it writes is kept in the repository.
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import pathlib
import posixpath
import re
import typing
from collections.abc import Iterator
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from boneage_jax import cli
from boneage_jax.config import MAY_DIFFER_ON_RESUME, ExperimentConfig
from boneage_jax.launching.job import Job

ROOT = pathlib.Path(__file__).parents[1]

COPIED = {
    "tfds_builder/hand_phantom/README.md": "reference/data-cards/hand_phantom.md",
    "tfds_builder/rsna_bone_age/README.md": "reference/data-cards/rsna_bone_age.md",
    "tfds_builder/registered_hands/README.md": "reference/data-cards/registered_hands.md",
    "benchmarks/README.md": "reference/benchmarks.md",
    "benchmarks/GPU.md": "reference/benchmarks-gpu.md",
    "CHANGELOG.md": "reference/changelog.md",
}
"""Files of the repository that are pages of the site too: path there, path here."""

_LIMITS = (
    ("low", "at least {}"),
    ("above", "more than {}"),
    ("high", "at most {}"),
    ("choices", "one of {}"),
)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Fills the navigation's entry of the API with its pages."""
    fill(config.nav, "Python API", [{name: f"reference/api/{name}.md"} for name in api_names()])
    return config


def fill(nav: Any, title: str, pages: list[dict[str, str]]) -> None:
    """Adds pages to the section of a title, wherever it is in the navigation."""
    for entry in nav:
        for name, below in entry.items():
            if name == title:
                below += pages
            elif isinstance(below, list):
                fill(below, title, pages)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds all generated pages to the site."""
    pages = {
        "reference/commands.md": commands(),
        "reference/settings.md": settings(),
        "reference/jobs.md": jobs(),
        "reference/configs.md": configs(),
        **{target: copied(source, target) for source, target in COPIED.items()},
        **api(),
    }
    for path, text in pages.items():
        files.append(File.generated(config, path, content=text))
    return files


def cell(text: str) -> str:
    """Returns a text that may stand in a Markdown table."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def commands() -> str:
    """Returns the page of all commands and their options."""
    parts = [
        "# Commands",
        "Generated from the program itself: the same text as `boneage COMMAND --help`. "
        "A command that takes a config also takes every [setting](settings.md), as in "
        "`--config=configs/tiny.py --config.train.batch_size=16`. [Exit statuses](exit-statuses.md).",
    ]
    found = list(leaves(cli.parser(), ()))
    parts.append(
        "\n".join(f"- [`boneage {' '.join(words)}`](#{'-'.join(words)}): {help_}" for words, help_, _ in found)
    )
    for words, help_, parser in found:
        parts += [f"## boneage {' '.join(words)} {{ #{'-'.join(words)} }}", f"{help_[:1].upper()}{help_[1:]}."]
        rows = [
            f"| {name} | {cell(action.help or '')} | {default} |"
            for action in parser._actions
            if not isinstance(action, argparse._HelpAction)
            for name, default in [(shown_option(action), shown_default(action))]
        ]
        if rows:
            parts.append("\n".join(["| option | meaning | default |", "| --- | --- | --- |", *rows]))
        if parser.epilog:
            parts.append(f"```text\n{parser.epilog}\n```")
    return "\n\n".join(parts) + "\n"


def leaves(
    parser: argparse.ArgumentParser, words: tuple[str, ...], help_: str = ""
) -> Iterator[tuple[tuple[str, ...], str, argparse.ArgumentParser]]:
    """Yields every command that does something: its words, its line of help, its parser."""
    below = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not below:
        yield words, help_, parser
    for action in below:
        lines = {choice.dest: choice.help or "" for choice in action._choices_actions}
        for word, inner in action.choices.items():
            yield from leaves(inner, (*words, word), lines.get(word, ""))


def shown_option(action: argparse.Action) -> str:
    """Returns an option with the name of its value, as code."""
    name = ", ".join(action.option_strings) or str(action.metavar or action.dest)
    if not action.option_strings or action.nargs == 0:
        return f"`{name}`"
    value = action.metavar or (
        "{" + ",".join(map(str, action.choices)) + "}" if action.choices else action.dest.upper()
    )
    return f"`{name} {value}`".replace("|", "\\|")


def shown_default(action: argparse.Action) -> str:
    """Returns the default, where it is a value that the help does not state already."""
    if action.required:
        return "required"
    states_it = "(default" in (action.help or "")
    if states_it or action.nargs == 0 or action.default in (None, "", (), [], {}, argparse.SUPPRESS):
        return ""
    return f"`{action.default}`"


def settings() -> str:
    """Returns the page of all settings of a config."""
    parts = [
        "# Settings",
        f"Generated from `{ExperimentConfig.__module__}`. Every setting is a key of a config file, and an option of "
        "the commands that take one: `--config.SECTION.KEY=VALUE`. Values are checked before any data or device is "
        "touched. A misspelt key is answered with the one that was probably meant. Durations are texts such as "
        "`50 epochs`, `2000 steps`, `1e6 examples` or `5%`.",
        "Settings marked *resume* may differ when a run is resumed: they change where and how fast it goes, not what "
        "it computes.",
    ]
    for field in dataclasses.fields(ExperimentConfig):
        section = typing.get_type_hints(ExperimentConfig)[field.name]
        parts += [f"## {field.name}", f"{(section.__doc__ or '').strip()}", table_of(section, field.name + ".")]
    return "\n\n".join(parts) + "\n"


def jobs() -> str:
    """Returns the page of all keys of a job's file."""
    module = (ROOT / "boneage_jax/launching/job.py").read_text(encoding="utf-8")
    example = re.search(r"\n\n((?:    .*\n|\n)+)", ast.get_docstring(ast.parse(module), clean=False) or "")
    toml = "\n".join(line.removeprefix("    ") for line in example[1].strip("\n").splitlines()) if example else ""
    parts = [
        "# Job files",
        "Generated from `boneage_jax/launching/job.py`. A job's file is TOML; "
        "[Train on several machines](../how-to/several-machines.md) says how it is used. Everything but `name` and "
        "`command` has a default.",
        f"```toml\n{toml}\n```",
        "## Top level",
        table_of(Job, ""),
    ]
    hints = typing.get_type_hints(Job)
    for field in dataclasses.fields(Job):
        if dataclasses.is_dataclass(hints[field.name]):
            parts += [f"## [{field.name}]", (hints[field.name].__doc__ or "").strip(), table_of(hints[field.name], "")]
    return "\n\n".join(parts) + "\n"


def table_of(section: Any, prefix: str) -> str:
    """Returns the settings of one dataclass as a table; groups within it are left out."""
    hints = typing.get_type_hints(section)
    rows = ["| setting | default | values | meaning |", "| --- | --- | --- | --- |"]
    for field in dataclasses.fields(section):
        if dataclasses.is_dataclass(hints[field.name]):
            continue
        resume = " *resume*" if prefix + field.name in MAY_DIFFER_ON_RESUME else ""
        rows.append(
            f"| `{prefix}{field.name}`{resume} | {cell(f'`{field.default!r}`')} | "
            f"{cell(values_of(hints[field.name], field.metadata))} | {cell(field.metadata['help'])} |"
        )
    return "\n".join(rows)


def values_of(kind: Any, limits: typing.Mapping[str, Any]) -> str:
    """Returns the type of a setting and its limits, for people."""
    if typing.get_origin(kind) is typing.Literal:
        return "one of " + ", ".join(f"`{choice}`" for choice in typing.get_args(kind))
    names = {int: "whole number", float: "number", str: "text", bool: "`True` or `False`"}
    if typing.get_origin(kind) is tuple:
        inner = typing.get_args(kind)[0]
        shown = values_of(inner, {}) if typing.get_origin(inner) is typing.Literal else names[inner] + "s"
        parts = [f"tuple of {shown}" if inner in names else f"tuple, each {shown}"]
    else:
        parts = [names[kind]]
    for key, words in _LIMITS:
        if key in limits:
            value = limits[key]
            parts.append(words.format(", ".join(map(repr, value)) if isinstance(value, tuple) else repr(value)))
    return ", ".join(parts)


def configs() -> str:
    """Returns the page of the shipped configs: what each says of itself."""
    parts = [
        "# Shipped configs",
        "Generated from the files' own docstrings. A config is a Python file that returns an `ml_collections` config; "
        "`FILE:ARGUMENT` chooses a variant, as in `configs/m46.py:3x3`. [All settings](settings.md).",
    ]
    for folder, title in (("configs", ""), ("configs/paper", ""), ("configs/sweeps", "Sweeps")):
        if title:
            parts.append(f"## {title}")
        for file in sorted((ROOT / folder).glob("*.py")):
            text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8")))
            if file.name != "__init__.py" and text:
                level = "###" if title else "##"
                parts += [f"{level} {file.relative_to(ROOT).as_posix()}", f"```text\n{text}\n```"]
    return "\n\n".join(parts) + "\n"


def copied(source: str, target: str) -> str:
    """Returns a file of the repository as a page, its links led to where they point from here."""

    def link(match: re.Match[str]) -> str:
        image, text, where = match[1], match[2], match[3]
        if re.match(r"[a-z]+:|#", where):
            return match[0]
        path, _, anchor = where.partition("#")
        place = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
        page = place.removeprefix("docs/") if place.startswith("docs/") else COPIED.get(place)
        if page is None:  # a file of the repository that is no page
            return f"`{place}`"
        here = posixpath.relpath(page, posixpath.dirname(target))
        return f"{image}[{text}]({here}{'#' + anchor if anchor else ''})"

    text = (ROOT / source).read_text(encoding="utf-8")
    if not text.startswith("# "):
        text = f"# {pathlib.PurePosixPath(source).parent.name}\n\n{text}"
    return re.sub(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)", link, text)


def api_names() -> list[str]:
    """Returns the pages of the API: that for users, then every package, then every module of the top level."""
    package = ROOT / "boneage_jax"
    folders = [
        path.name for path in package.iterdir() if (path / "__init__.py").exists() and any(path.glob("[!_]*.py"))
    ]
    return ["boneage_jax", *sorted(folders), *sorted(path.stem for path in package.glob("[!_]*.py"))]


def api() -> dict[str, str]:
    """Returns a page for each package and top-level module, and an overview of them."""
    package = ROOT / "boneage_jax"
    first, *names = api_names()
    overview = [
        "# Python API\n",
        f"The interface for users is [`{first}`]({first}.md): three functions.\n",
        "| package or module | summary |",
        "| --- | --- |",
    ]
    pages = {f"reference/api/{first}.md": api_page(first, ["show_submodules: false"])}
    for name in names:
        folder = package / name
        path = folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")
        summary = (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").split("\n\n")[0]
        overview.append(f"| [`{name}`]({name}.md) | {cell(summary)} |")
        pages[f"reference/api/{name}.md"] = api_page(f"{first}.{name}", [])
    return {"reference/api/index.md": "\n".join(overview) + "\n", **pages}


def api_page(name: str, options: list[str]) -> str:
    """Returns a page that mkdocstrings fills with what a module says of itself."""
    lines = "".join(f"      {option}\n" for option in ["show_root_heading: false", *options])
    # What people wrote comes first in a search.
    return f"---\nsearch:\n  boost: 0.3\n---\n\n# {name}\n\n::: {name}\n    options:\n{lines}"
