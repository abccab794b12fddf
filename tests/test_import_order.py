"""Imports run one way: from the command line down, floor by floor; no circle, no module named in a string."""

import ast
import pathlib
from collections.abc import Iterator

import pytest

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = ROOT / "boneage_jax"

FLOORS = (
    {"errors", "environment", "geometry", "renamed", "user_cache"},
    {"files", "shown", "resources", "settings", "anatomy", "options", "parallel", "page", "network_ref", "region_spec"},
    {"canvas", "schema"},
    {"data"},
    {"phantoms"},
    {"models"},
    {"tasks"},
    {"config"},
    {"distributed"},
    {"runs"},
    {"train"},
    {"analysis", "planning", "clinical"},
    {"hand"},
    {"workflows", "paper", "importance", "scaling", "sweeps", "launching"},
    {"api", "serving"},
    {"cli"},
)
"""Rooms and modules at the top of the package, from the lowest floor to the highest. A module imports from its own room
and from floors below; on the lowest three, which hold single modules, also from its own floor."""

SHARED_FLOORS = 3


def floor_of(room: str) -> int:
    """The number of the floor that a room stands on."""
    found = [n for n, rooms in enumerate(FLOORS) if room in rooms]
    assert len(found) == 1, f"{room}: stands on {len(found)} floors of FLOORS, expected one; add it there"
    return found[0]


def modules() -> dict[str, pathlib.Path]:
    """Every module of the package by its dotted name below `boneage_jax`, packages by theirs."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return {name: path for name, path in found.items() if not name.endswith("__main__")}


def imported(path: pathlib.Path, known: dict[str, pathlib.Path]) -> Iterator[str]:
    """The package's own modules that a file imports, inside functions too, but for those that only types need."""
    tree = ast.parse(path.read_text())
    only_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in only_types:
            continue
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            assert not isinstance(node, ast.ImportFrom), f"{path}: imports by dots; expected whole names"
            continue
        for name in names:
            if name.split(".")[0] != "boneage_jax":
                continue
            inner = name.removeprefix("boneage_jax").lstrip(".")
            # `from boneage_jax.data import images` names a module, `from boneage_jax.errors import UserError` does not.
            while inner not in known:
                inner = inner.rpartition(".")[0]
            if inner:
                yield inner


KNOWN = modules()
IMPORTS = {name: set(imported(path, KNOWN)) - {name} for name, path in KNOWN.items()}


@pytest.mark.parametrize("name", sorted(set(KNOWN) - {""}))
def test_a_module_imports_its_own_room_and_floors_below(name):
    room = name.split(".")[0]
    for other in sorted(IMPORTS[name]):
        there = other.split(".")[0]
        if there == room:
            continue
        mine, its = floor_of(room), floor_of(there)
        allowed = its < mine or (its == mine < SHARED_FLOORS)
        assert allowed, f"boneage_jax.{name} (floor {mine}) imports boneage_jax.{other} (floor {its})"


def test_no_module_reaches_itself():
    """Depth first over all modules: a module that is met again on the way down closes a circle."""
    done: set[str] = set()

    def visit(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, " -> ".join((*way[way.index(name) :], name))
        if name in done:
            return
        for other in sorted(IMPORTS[name]):
            visit(other, (*way, name))
        done.add(name)

    for name in sorted(KNOWN):
        visit(name, ())


def test_the_package_itself_imports_nothing_until_it_is_used():
    """`import boneage_jax` is free: the Python API imports inside its functions."""
    tree = ast.parse(KNOWN[""].read_text())
    at_import = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {getattr(node, "module", None) or node.names[0].name for node in at_import}
    assert not {name for name in names if name.startswith(("boneage_jax", "jax", "flax"))}


BUILDERS = sorted((ROOT / "tfds_builder").rglob("*_dataset_builder.py"))


@pytest.mark.parametrize("path", BUILDERS, ids=lambda path: path.parent.name)
def test_builders_import_only_what_makes_data(path):
    """They are imported by name, by `workflows`: so nothing that they import may lead back there."""
    for other in imported(path, KNOWN):
        assert floor_of(other.split(".")[0]) <= floor_of("phantoms"), f"{path.name} imports boneage_jax.{other}"


def test_modules_are_named_in_strings_in_one_place_alone():
    """`importlib` hides an arrow from this test: only `resources` uses it, to find the builders."""

    def imports_by_name(path: pathlib.Path) -> bool:
        nodes = ast.walk(ast.parse(path.read_text()))
        return any(isinstance(node, ast.Attribute) and node.attr == "import_module" for node in nodes)

    assert {name for name, path in KNOWN.items() if imports_by_name(path)} == {"resources"}
    users = {name for name, path in KNOWN.items() if "builder_module" in path.read_text()} - {"resources"}
    assert users == {"workflows.build", "workflows.derive"}
