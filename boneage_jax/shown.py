"""Commands that are shown to a user, written so that a shell runs them as they stand."""

from __future__ import annotations

import os
import pathlib
import re
import shlex

from boneage_jax.errors import printable


def command(*words: object) -> str:
    """Returns a command of `boneage` as a line of shell, each word quoted where a shell would read it otherwise.

    Args:
      words: what follows `boneage`: text, numbers, paths; a path is never taken for an option.
    """
    texts = (f"./{word}" if isinstance(word, pathlib.Path) and str(word)[0] == "-" else str(word) for word in words)
    return " ".join(map(quoted, ["boneage", *texts]))


def quoted(word: str) -> str:
    """Returns a word as a shell reads it back, quoted where need be; bytes that are no UTF-8 as bash's `$'...'`."""
    if printable(word) == word:
        return shlex.quote(word)
    plain = re.compile(rb"[\w./ =:@,-]", re.ASCII)
    pieces = (bytes([byte]) for byte in os.fsencode(word))
    return "$'" + "".join(one.decode() if plain.match(one) else f"\\x{one[0]:02x}" for one in pieces) + "'"


def to_build(name: str, data_dir: pathlib.Path) -> str:
    """Returns what makes a dataset of this name, as a line of shell; what only the user knows stands in capitals.

    Args:
      name: as in `hand_phantom/registered_520x400_jpeg95`, in the way that `boneage data build` and `boneage register`
        name what they make.
      data_dir: folder of built datasets.
    """
    dataset, _, config = name.partition("/")
    if dataset not in ("hand_phantom", "rsna_bone_age", "registered_hands"):
        return command("data", "build", "--help")
    if dataset == "registered_hands":
        return _to_register(config, data_dir)
    options: list[object] = []
    if dataset != "hand_phantom":
        options += ["--from", "FOLDER"]
    options += ["--out", data_dir]
    if counts := re.search(r"_(\d+)-(\d+)-(\d+)$", config):
        config = config[: counts.start()]
        options += ["--counts", ",".join(counts.groups())]
    if stored := re.search(r"(?:^|_)(\d+x\d+)_(png|raw|jpeg)(\d*)$", config):
        config = config[: stored.start()]
        size, encoding, quality = stored.groups()
        options += ["--size", size, "--encoding", encoding, *(["--quality", quality] if quality else [])]
    return command("data", "build", f"{dataset}/{config}".rstrip("/"), *options)


def _to_register(name: str, data_dir: pathlib.Path) -> str:
    """Registration names what it makes after its source, unless it is told otherwise."""
    networks = ("--segmentation", "shipped", "--landmarks", "shipped", "--data", data_dir)
    dataset, dash, config = name.partition("-")
    if not dash or dataset not in ("hand_phantom", "rsna_bone_age"):
        return command("register", "DATASET", *networks, "--name", name)
    source = f"{dataset}/{config}"
    return f"{to_build(source, data_dir)} && {command('register', source, *networks)}"
