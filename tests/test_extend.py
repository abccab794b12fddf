"""docs/how-to/extend.md shows the files that other tests add a method, a table format and an annotation format with."""

import ast
import pathlib
import re
import textwrap

import pytest

ROOT = pathlib.Path(__file__).parents[1]
GUIDE = (ROOT / "docs/how-to/extend.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["importance/gradient_times_input.py", "data/json_lines.py", "data/points.py"])
def test_examples_are_the_tested_files(name):
    text = (ROOT / "tests" / name).read_text(encoding="utf-8")
    assert textwrap.indent(text, "    ") in GUIDE


def test_the_backbone_shown_is_the_declared_one():
    text = (ROOT / "boneage_jax/models/convnext.py").read_text(encoding="utf-8")
    (declaration,) = [
        ast.get_source_segment(text, node)
        for node in ast.parse(text).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "ARCHITECTURE"
    ]
    assert textwrap.indent(declaration, "    ") in GUIDE
    registry = (ROOT / "boneage_jax/models/registry.py").read_text(encoding="utf-8")
    added = [
        line[5:] for line in GUIDE.split("registry.py`:")[1].split("```")[1].splitlines() if line.startswith("    +")
    ]
    assert len(added) == 2
    assert all(line in registry.splitlines() for line in added)


EXAMPLES = {"NAME.py", "gradient_times_input.py", "json_lines.py", "points.py"}
"""Files of the guide that nobody has added."""


def test_files_that_the_guide_names_exist():
    named = set(re.findall(r"[\w/]+/\w+\.py", GUIDE))
    assert len(named) > 10
    assert {name for name in named if not (ROOT / name).is_file()} == {
        name for name in named if name.rpartition("/")[2] in EXAMPLES
    }
