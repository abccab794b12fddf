"""Copies of the working tree, for what must not happen in the tree itself."""

import pathlib
import shutil
import subprocess

ROOT = pathlib.Path(__file__).parents[1]


def copy_tree(target: pathlib.Path) -> None:
    """Copies the files of the working tree that git knows or would add, as they are now.

    Raises:
      RuntimeError: where the tree is no checkout.
    """
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        raise RuntimeError(f"{ROOT}: no checkout of git ({listed.stderr.strip()})")
    for name in filter(None, listed.stdout.split("\0")):
        source, copy = ROOT / name, target / name
        if source.is_file():  # not what is deleted, but not yet for git
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, copy)
            copy.chmod(source.stat().st_mode)
