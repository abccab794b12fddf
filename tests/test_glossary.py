"""The glossary names files that exist, and every name that old configs and files are translated from."""

import pathlib
import re

import pytest

from boneage_jax import renamed, schema

ROOT = pathlib.Path(__file__).parents[1]
GLOSSARY = (ROOT / "docs/explanation/glossary.md").read_text(encoding="utf-8")
TERMS, _, OLD_AND_NEW = GLOSSARY.partition("## Old and new names")


def rows(heading):
    """The table under a heading, as pairs of cells."""
    table = OLD_AND_NEW.partition(f"### {heading}\n")[2].partition("\n### ")[0]
    return [tuple(cell.strip() for cell in line.strip("|").split(" | ")) for line in table.splitlines() if "|" in line]


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`((?:boneage_jax|configs)/[^`]+)`", TERMS))))
def test_a_term_is_defined_where_the_glossary_says(path):
    assert (ROOT / path).exists()


def test_terms_are_listed_once_and_have_a_place():
    entries = re.findall(r"^- \*\*(.+?)\*\*(.*(?:\n {2,}.*|\n)*?)(?=^- \*\*|^#|\Z)", TERMS, re.MULTILINE)
    names = [name for name, _ in entries]
    assert len(names) > 90
    assert len(set(names)) == len(names)
    # Readers are people: no code defines them.
    assert [name for name, text in entries if "boneage_jax/" not in text] == ["Reader"]


def test_input_layouts_are_explained():
    assert {row[0] for row in re.findall(r"^ {4}\| `(\w+)` (.*)$", TERMS, re.MULTILINE)} == set(schema.INPUT_LAYOUTS)


def test_every_renamed_key_and_value_is_listed():
    settings = {old.partition(",")[0]: new for old, new in rows("Settings")}
    for old, new in renamed.KEYS.items():
        assert settings[f"`{old}`"].startswith(f"`{new}`")
    layouts = dict(rows("Settings"))
    for old, new in renamed.INPUT_LAYOUTS.items():
        listed = layouts[f"`data.frame` `{old}`"]
        assert tuple(re.findall(r'"(\w+)"', listed)) == new
    for task in ("segmentation", "landmarks"):
        listed = layouts[f"`data.frame` `looks`, {task}"]
        assert tuple(re.findall(r'"(\w+)"', listed)) == renamed.COARSE_TO_FINE[task]
    for old, new in renamed.STORED.items():
        assert any(row[0].startswith(f"`{old}`") and row[1] == f"`{new}`" for row in rows("Settings"))
