"""Reads damaged files for a while: `python -m tests.fuzz --seconds 600`.

Every reader must give a readable result or say why not; a crash, any other error, a file that takes long and memory
that grows are failures. A child process reads, so that a crash of a library is seen too; the file that it was at stays.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import pathlib
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable

import numpy as np

from boneage_jax.data import annotations, images, labels, layouts
from boneage_jax.data.tree import UnreadableFile
from boneage_jax.errors import UserError
from tests.fuzz import corpus, mutate

SLOW_SECONDS = 20
"""That one small file may take."""

MEMORY_BYTES = 6 << 30
"""Address space of the child: what asks for more is a failure."""

GROWTH_BYTES = 200 << 20
"""Resident memory that a child may gain after its first tenth."""


def read_picture(path: pathlib.Path) -> None:
    """A picture is 8-bit grey, with pixels."""
    grey = images.read(path)
    assert grey.dtype == np.uint8, grey.dtype
    assert grey.ndim == 2, grey.shape
    assert grey.size, grey.shape


def read_table(path: pathlib.Path) -> None:
    """Good rows have an id and an age that may be one."""
    table = labels.read_whole_table(path.name, path.read_bytes())
    assert table.labels or table.offenders
    for label in table.labels:
        assert label.id
        assert np.isnan(label.months) or 0 <= label.months <= 240
        assert isinstance(label.male, bool)


def read_archive(path: pathlib.Path) -> None:
    """What is found has an image that can be read, or says why not."""
    with layouts.search(path.parent, missing="skip") as found:
        for records in found.records.values():
            for record in records:
                with contextlib.suppress(images.ImageError, UnreadableFile):
                    images.decode(record.image.read())


def read_annotations(path: pathlib.Path) -> None:
    """Masks can be drawn at the size of the image."""
    for annotation in annotations.read(path):
        if annotation.has_mask:
            annotation.mask((annotation.height or 100, annotation.width or 80)[:2])


READERS: dict[str, tuple[Callable[[pathlib.Path], None], Callable[[], corpus.Files]]] = {
    "pictures": (read_picture, corpus.pictures),
    "dicom": (read_picture, corpus.dicom),
    "tables": (read_table, corpus.tables),
    "zips": (read_archive, corpus.archives),
    "annotations": (read_annotations, corpus.annotations),
}


def attack(kind: str, seconds: float, seed: int, folder: pathlib.Path) -> dict[str, object]:
    """Reads damaged files of a kind until the time is over; whole ones first. Runs in the child.

    Args:
      kind: of `READERS`.
      seconds: to go on for.
      seed: of the damages.
      folder: where the file at hand lies: what remains there after a crash did it.
    """
    read, files = READERS[kind]
    whole = files()
    place = folder / "now"
    place.mkdir(parents=True, exist_ok=True)
    for name, data in whole.items():
        tried(read, place, name, data, must_read=kind != "dicom")
    end, count, readable, memory = time.monotonic() + seconds, 0, 0, 0
    while time.monotonic() < end:
        draw = random.Random(f"{seed}-{kind}-{count}")
        name = draw.choice(sorted(whole))
        if name.endswith(".json") and draw.random() < 0.7:
            data = mutate.of_json(whole[name], draw)
        else:
            data = mutate.of_bytes(whole[name], list(whole.values()), draw)
        readable += tried(read, place, name, data)
        count += 1
        if not memory and time.monotonic() > end - 0.9 * seconds:
            memory = resident()
    grown = resident() - memory if memory else 0
    if grown > GROWTH_BYTES:
        raise AssertionError(f"{kind}: memory has grown by {grown >> 20} MiB over {count} files")
    return {"kind": kind, "files": count, "readable": readable, "grown_mib": grown >> 20}


def tried(
    read: Callable[[pathlib.Path], None], place: pathlib.Path, name: str, data: bytes, *, must_read: bool = False
) -> bool:
    """Returns whether a file could be read; raises what no reader may raise."""
    path = place / name
    path.write_bytes(data)
    signal.alarm(SLOW_SECONDS)
    try:
        read(path)
    except UserError as error:
        if must_read or not str(error).strip():
            raise AssertionError(f"{name}: a whole file is refused, or without a word") from error
        path.unlink()
        return False
    finally:
        signal.alarm(0)
    path.unlink()
    return True


def resident() -> int:
    """Returns this process's resident memory in bytes."""
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def child(kind: str, seconds: float, seed: int, folder: pathlib.Path) -> int:
    """Attacks one reader under limits; prints what came of it as JSON."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    signal.signal(signal.SIGALRM, _too_slow)
    warnings.simplefilter("ignore")
    try:
        print(json.dumps(attack(kind, seconds, seed, folder)))
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def _too_slow(*_: object) -> None:
    raise TimeoutError(f"over {SLOW_SECONDS} s for one small file")


def main() -> int:
    """Attacks all readers one after the other; returns 0 where nothing failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0, help="for all readers together (default: 600)")
    parser.add_argument("--seed", type=int, default=None, help="of the damages (default: the time)")
    parser.add_argument("--kinds", default=",".join(READERS), help="readers, with commas between")
    parser.add_argument("--out", type=pathlib.Path, default=None, help="folder for files that a reader failed on")
    parser.add_argument("--child", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    seed = int(time.time()) if options.seed is None else options.seed
    out = options.out or pathlib.Path(tempfile.mkdtemp(prefix="boneage-fuzz-"))
    if options.child:
        return child(options.child, options.seconds, seed, out)
    kinds = options.kinds.split(",")
    run = functools.partial(_run, seconds=options.seconds / len(kinds), seed=seed, out=out)
    failed = [kind for kind in kinds if not run(kind)]
    print(f"fuzz: {len(kinds) - len(failed)} passed, {len(failed)} failed")
    return 1 if failed else 0


def _run(kind: str, *, seconds: float, seed: int, out: pathlib.Path) -> bool:
    folder = out / kind
    command = [sys.executable, "-m", "tests.fuzz", "--child", kind, "--seconds", str(seconds), "--seed", str(seed)]
    done = subprocess.run(
        [*command, "--out", str(folder)], capture_output=True, text=True, errors="replace", check=False
    )
    if done.returncode == 0:
        print(f"{kind}: {done.stdout.strip()}", flush=True)
        return True
    left = ", ".join(str(path) for path in sorted((folder / "now").iterdir()))
    print(f"{kind}: FAILED (exit status {done.returncode}, seed {seed}), at {left}\n{done.stderr[-4000:]}", flush=True)
    return False


if __name__ == "__main__":
    sys.exit(main())
