"""Every name in the documentation exists, every link leads somewhere."""

import pathlib
import re

import pytest

from boneage_jax import cli, config
from tests.docs.blocks import PAGES, ROOT
from tests.test_cli import options_of

FOREIGN_OPTIONS = {"--container-image", "--container-mounts"}
"""Options of srun that the text speaks of."""

ids = [str(page.relative_to(ROOT)) for page in PAGES]
each_page = pytest.mark.parametrize("page", PAGES, ids=ids)
CHANGELOG = ROOT / "CHANGELOG.md"


def inline_code(page: pathlib.Path) -> list[str]:
    """Code within the text of a page; without blocks, files that a reader is told to write, and lists of old names."""
    text = re.sub(r"^(\s*)```.*?^\s*```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    text = re.sub(r"\bWrite `[^`\n]+`", "", text.partition("## Old and new names")[0])
    return re.findall(r"`([^`\n]+)`", text)


@each_page
def test_names_in_the_text_exist(page):
    """Options, settings, commands, files and make targets that are named within sentences."""
    if page == CHANGELOG:
        pytest.skip("it also speaks of what there was before")
    options = {name for _, option in options_of(cli.parser()) for name in option.option_strings}
    commands = {" ".join(words) for words, _ in options_of(cli.parser())}
    groups = {command.split()[0] for command in commands if command}
    settings = set(config.all_keys())
    sections = {key.split(".")[0] for key in settings}
    benchmarks = "".join(path.read_text() for path in (ROOT / "benchmarks").glob("*.py"))
    launchers = "".join(path.read_text() for path in (ROOT / "boneage_jax/launching").glob("*.py"))
    for code in inline_code(page):
        for name in re.findall(r"(?<![\w-])--[a-z][a-z-]+", code):
            known = name in options or f'"{name}"' in benchmarks or f'"{name}"' in launchers
            known = known or name.startswith("--config") or name in FOREIGN_OPTIONS
            assert known, f"{page.name}: `{code}` names {name}"
        setting = re.fullmatch(r"(?:--config\.)?([a-z]+\.[a-z0-9_]+)(=.*)?", code)
        if setting and setting[1].split(".")[0] in sections and not code.endswith((".py", ".json", ".md")):
            assert setting[1] in settings, f"{page.name}: no setting `{code}`"
        if code.startswith("boneage ") and not code.startswith("boneage COMMAND"):
            words = code.split()[1:]
            assert words[0] in groups or words[0].startswith("-"), f"{page.name}: no command `{code}`"
        for path in re.findall(r"^(?:boneage_jax|configs|tests|benchmarks|launch|tfds_builder|docs)/[\w./-]+", code):
            stands_for_any = re.search(r"\b[A-Z]{2,}\b", path.removesuffix(".md"))  # as in models/NAME.py
            assert (ROOT / path).exists() or stands_for_any, f"{page.name}: no file `{code}`"


@each_page
def test_relative_links_lead_to_files(page):
    """The site's build checks the pages in docs/ too; this one checks all, also those that only a repository shows."""
    generated = {
        "commands.md", "settings.md", "jobs.md", "configs.md", "benchmarks.md", "benchmarks-gpu.md", "changelog.md",
    }  # fmt: skip
    for where in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", where):
            continue
        path, _, anchor = where.partition("#")
        target = (page.parent / path).resolve() if path else page
        inside = target.relative_to(ROOT).as_posix()
        made = inside.startswith(("docs/reference/api/", "docs/reference/data-cards/"))
        if made or (target.parent.name == "reference" and target.name in generated):
            assert ROOT / "docs" in page.parents, f"{page.name}: {where} is a page of the site alone"
            continue
        assert target.exists(), f"{page.name}: {where}"
        if anchor and target.suffix == ".md":
            headings = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.M)
            anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in anchors, f"{page.name}: {where}"
