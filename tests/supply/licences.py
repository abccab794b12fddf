"""Writes `docs/reference/licences.md`, the licences of all dependencies: `python -m tests.supply.licences`.

The packages are those of constraints.txt; what is said of each is its installed metadata (core metadata, PEP 639). Run
it in an environment that holds all of them at these versions: `make licences` makes one.
"""

from __future__ import annotations

import importlib.metadata
import pathlib
import re
import sys
from collections.abc import Iterable, Iterator, Mapping

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.working_copy import ROOT

PAGE = ROOT / "docs" / "reference" / "licences.md"
PACKAGE = "boneage-jax"
DEVELOPMENT = frozenset({"docs", "lint", "supply", "test"})
"""Extras that nobody needs who uses the package."""

PERMISSIVE = re.compile(
    r"Apache|BSD|MIT|ISC|PSF|Python Software Foundation|Zlib|CC0|HPND|Unlicense|BSL-1|AFL|Public Domain|DFSG", re.I
)
COPYLEFT = re.compile(r"\b(?:A|L)?GPL|MPL|EPL|CDDL|GNU|Mozilla|Eclipse|EUPL|CeCILL", re.I)

_WHOLE_FILES = "its files stay under this licence, and are used unchanged; it asks nothing of programs that import it."
_NOT_SHIPPED = "Used in development only; nothing of it is shipped or imported by the package."

ANSWERS = {
    "certifi": f"A list of certificates: {_WHOLE_FILES}",
    "docutils": "Public domain and BSD; under the GPL is a mode for Emacs, which its wheel does not hold. "
    f"{_NOT_SHIPPED}",
    "fqdn": _NOT_SHIPPED,
    "hypothesis": _NOT_SHIPPED,
    "pathspec": _NOT_SHIPPED,
    "psycopg": "Only for sweeps in PostgreSQL: imported unchanged and installed beside the package, so that "
    "users can replace it, which is what the LGPL asks for.",
    "psycopg-binary": "As psycopg, of which it is the compiled part.",
    "tqdm": f"MPL for some files, MIT for the others: {_WHOLE_FILES}",
}
"""Packages under copyleft, and why they can be used."""

IN_FILES = {"jax2onnx": "Apache-2.0"}
"""Licences of packages whose metadata state none, as their licence files have them."""

INSIDE = {
    "numpy": "libgfortran of GCC: GPL-3.0 with the GCC runtime library exception, which allows any program.",
    "opencv-python-headless": "FFmpeg: LGPL-2.1, shared libraries of their own for video, which the package does not "
    "read; libgfortran, as in numpy.",
    "scipy": "libgfortran of GCC: GPL-3.0 with the GCC runtime library exception, which allows any program.",
}
"""Packages whose wheels carry a library under the GNU licences beside their own code, and why that is no obstacle."""

_GNU_TEXT = re.compile(r"GNU (?:LESSER |LIBRARY |AFFERO )?GENERAL PUBLIC LICENSE")
"""The title of these licences, as it stands above their whole text."""

HEAD = """# Licences of dependencies

boneage-jax is under Apache-2.0. It ships no other package: what it needs is installed beside it. This page lists all
packages of `constraints.txt`: the package's dependencies and those of its extras, at the versions that CI installs
(Python 3.11, Linux). `make licences` writes it from the packages' own metadata; a test fails where it is out of date.

Not in it: the extras `cuda` and `tpu` (NVIDIA's libraries are under NVIDIA's own terms, libtpu under Google's) and
`reference` (PyTorch and timm, BSD and Apache-2.0), whose packages differ by machine.
"""


def pins() -> dict[str, str]:
    """Returns the exact version of each package of constraints.txt, by canonical name."""
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    lines = (line.partition("==") for line in text.splitlines() if line and not line.startswith("#"))
    return {str(canonicalize_name(name)): version for name, _, version in lines}


def licence(metadata: importlib.metadata.PackageMetadata) -> str:
    """Returns the licence that a package states: its expression, else its one line of text, else its classifiers."""
    expression, text = metadata.get("License-Expression"), (metadata.get("License") or "").strip()
    if expression:
        return str(expression)
    if text and "\n" not in text and text != "UNKNOWN" and (PERMISSIVE.search(text) or COPYLEFT.search(text)):
        return text
    classifiers = [one.rpartition(" :: ")[2] for one in metadata.get_all("Classifier") or [] if "License ::" in one]
    return "; ".join(classifiers) or text.partition("\n")[0] or "not stated"


def kind(name: str) -> str:
    """Returns `copyleft`, `permissive` or `unknown` of a licence; where both kinds are named, copyleft."""
    return "copyleft" if COPYLEFT.search(name) else "permissive" if PERMISSIVE.search(name) else "unknown"


def needed_by() -> dict[str, set[str]]:
    """Returns for each package, by canonical name, the extras that bring it; the empty one is the package itself."""
    extras = importlib.metadata.metadata(PACKAGE).get_all("Provides-Extra") or []
    found: dict[str, set[str]] = {}
    for extra in ("", *extras):
        for name in _closure(PACKAGE, extra, set()):
            found.setdefault(name, set()).add(extra)
    return found


def _closure(package: str, extra: str, seen: set[tuple[str, str]]) -> Iterator[str]:
    """Canonical names of all that a package needs with one of its extras, as far as it is installed."""
    try:
        requires = importlib.metadata.requires(package) or []
    except importlib.metadata.PackageNotFoundError:
        return
    for one in map(Requirement, requires):
        if one.marker is not None and not one.marker.evaluate({"extra": extra}):
            continue
        # Of the package itself only what the extra adds.
        if package == PACKAGE and extra and (one.marker is None or "extra" not in str(one.marker)):
            continue
        name = str(canonicalize_name(one.name))
        for wanted in ("", *one.extras):
            if (name, wanted) not in seen:
                seen.add((name, wanted))
                yield name
                yield from _closure(name, wanted, seen)


def carries_gnu_text(found: importlib.metadata.Distribution) -> bool:
    """Returns whether a licence file of the GNU family lies in a package's wheel."""
    named = re.compile(r"licen[cs]e|copying|notice|third", re.I)
    paths = [one.locate() for one in found.files or [] if named.search(one.name) and one.suffix in ("", ".txt", ".md")]
    return any(_GNU_TEXT.search(pathlib.Path(str(path)).read_text("utf-8", "replace")) for path in paths)


def page(versions: Mapping[str, str]) -> str:
    """Returns the page.

    Args:
      versions: of all packages, by canonical name.

    Raises:
      RuntimeError: for packages that are not installed at their version, and for licences that nothing answers.
    """
    problems, rows, inside = [], [], []
    by_extra = needed_by()
    for name, version in sorted(versions.items()):
        try:
            found = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            problems.append(f"{name}: not installed, expected {version}")
            continue
        if found.version != version:
            problems.append(f"{name}: found {found.version}, expected {version}")
        stated = IN_FILES.get(name) or licence(found.metadata)
        extras = by_extra.get(name, set())
        users = "all" if "" in extras else ", ".join(sorted(extras)) or "tools of pip"
        rows.append((name, version, stated, users))
        if kind(stated) == "unknown":
            problems.append(f"{name}: the licence {stated!r} is neither known as permissive nor as copyleft")
        if kind(stated) == "copyleft" and name not in ANSWERS:
            problems.append(f"{name}: {stated} is copyleft, and ANSWERS has no word on it")
        if kind(stated) != "copyleft" and carries_gnu_text(found):
            inside.append(name)
            if name not in INSIDE:
                problems.append(f"{name}: a file of its wheel holds a GNU licence, and INSIDE has no word on it")
    if problems:
        raise RuntimeError("\n".join(problems))
    copyleft = [row for row in rows if kind(row[2]) == "copyleft"]
    shipped = [row for row in rows if row[3] == "all" or not set(row[3].split(", ")) <= DEVELOPMENT | {"tools of pip"}]
    development = [row for row in rows if row not in shipped]
    return "\n".join(
        [
            HEAD,
            "## Copyleft, and why it may be used\n",
            *_table(("package", "licence", "answer"), ((row[0], row[2], ANSWERS[row[0]]) for row in copyleft)),
            "\nLibraries inside wheels of packages whose own licence is permissive:\n",
            *_table(("package", "library, licence, answer"), ((name, INSIDE[name]) for name in inside)),
            "\n## What users install\n",
            "`all`: with every installation. Else the extras that bring it.\n",
            *_table(("package", "version", "licence", "needed by"), shipped),
            "\n## What developers install besides\n",
            *_table(("package", "version", "licence", "needed by"), development),
            "",
        ]
    )


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{' --- |' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', '/') for cell in row)} |"


def main() -> int:
    """Writes the page; returns 0, or 1 with what is in the way."""
    try:
        text = page(pins())
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 1
    PAGE.write_text(text, encoding="utf-8")
    print(f"{PAGE.relative_to(ROOT)}: {len(pins())} packages")
    return 0


if __name__ == "__main__":
    sys.exit(main())
