"""Builds the project's TFDS datasets, whole or not at all."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import pathlib
import shutil
import sys
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import absl.logging

from boneage_jax import parallel, resources
from boneage_jax.data import layouts, sources, tree
from boneage_jax.errors import EXIT_IN_USE, UserError, causes, printable
from boneage_jax.files import check_writable, held_alone
from boneage_jax.workflows.requests import BuildRequest

DATASETS = ("hand_phantom", "rsna_bone_age")

_LOCK = ".lock"
_LOCK_SECONDS = 10.0
"""Longest wait for another command that builds the same dataset. Chosen by eye."""


class DatasetInUse(UserError):
    """Another command builds the same dataset."""

    exit_status = EXIT_IN_USE


def build(request: BuildRequest) -> sources.Dataset:
    """Builds a dataset, or opens it where it is already built.

    Args:
      request: what is built, from what; the number of workers does not change what is written.

    Raises:
      UserError: unknown names, bad input, a full disk or an unwritable folder. Nothing half-written stays.
      DatasetInUse: where another command builds the same dataset.
    """
    absl.logging.set_verbosity(absl.logging.ERROR)
    data_dir, source = request.out, request.source
    dataset, _, config_name = request.dataset.partition("/")
    if dataset not in DATASETS:
        raise UserError(f"unknown dataset {dataset!r}; expected one of {', '.join(DATASETS)}")
    check_path(data_dir)
    module = resources.builder_module(dataset)
    config = _builder_config(module.Builder, config_name, request)
    options: dict[str, Any] = {"workers": request.workers or parallel.default_workers()}
    if dataset == "rsna_bone_age":
        if source is None:
            raise UserError("rsna_bone_age is built from a download: name its folder with --from FOLDER")
        source = _folder_of(source)
        share = layouts.VALIDATION_SHARE if request.validation is None else request.validation
        if not 0 <= share < 1:
            raise UserError(f"--validation {share:g}: expected a share from 0 (none) to below 1, as in 0.08")
        options |= {"missing": request.missing, "source": source, "validation": share}
    elif request.validation is not None:
        raise UserError("--validation is for rsna_bone_age: phantoms have a validation split of their own")
    made = [folder for folder in (data_dir, *data_dir.parents) if not folder.exists()]
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        if any((data_dir / dataset / config.name).glob("[0-9]*/dataset_info.json")):
            sources.Dataset.open(data_dir, f"{dataset}/{config.name}")  # says what is damaged; TFDS says it otherwise
        builder = module.Builder(config=config, data_dir=str(data_dir), **options)
        place = pathlib.Path(builder.data_path)
        was_built = (place / "dataset_info.json").exists() and (place / sources.INDEX).exists()
        with contextlib.nullcontext() if was_built else alone(place.parent):
            was_built = (place / "dataset_info.json").exists()
            if not was_built:
                try:
                    write_records(builder, manual_dir=source)
                finally:
                    if hasattr(builder, "close"):
                        builder.close()
            built = sources.Dataset.open(data_dir, f"{dataset}/{config.name}")
            if request.validation is not None:
                _check_share(built, request.validation)
            if was_built and source is not None:
                _check_source(built, source)
                print(f"already built: {printable(str(built.path))}", file=sys.stderr)
            if not (built.path / sources.INDEX).exists():
                built.write_index()
    except DatasetInUse:
        raise  # what lies there is the other one's
    except Exception as error:
        _tidy(data_dir / dataset)
        for folder in made:
            with contextlib.suppress(OSError):
                folder.rmdir()
        if isinstance(error, UserError):
            raise
        raise readable(error, data_dir) from error
    return built


@contextlib.contextmanager
def alone(folder: pathlib.Path) -> Iterator[None]:
    """Keeps other builders out of a dataset's folder; what the kernel holds ends with this process, however it ends.

    Raises:
      DatasetInUse: where another one is at it.
      UserError: for a folder that cannot be written.
    """
    check_writable(folder)
    in_use = DatasetInUse(
        f"{printable(str(folder))}: another command builds this dataset now; expected none. Wait for it, and start "
        "the same command again"
    )
    with held_alone(folder / _LOCK, seconds=_LOCK_SECONDS, otherwise=lambda: in_use):
        yield


def check_path(data_dir: pathlib.Path) -> None:
    """Raises `UserError` for a folder that datasets cannot be written to: array_record takes names in UTF-8 alone."""
    try:
        os.path.abspath(data_dir).encode()
    except UnicodeEncodeError as error:
        raise UserError(
            f"{printable(str(data_dir))}: this folder's name is not UTF-8, and array_record cannot write there; choose "
            "another --out"
        ) from error


def _folder_of(source: pathlib.Path) -> pathlib.Path:
    """The folder or zip that is meant: that of a DICOMDIR, which lists what lies below it. Raises `UserError`."""
    if source.is_dir() or (source.is_file() and source.suffix.lower() in tree.ZIP_SUFFIXES):
        return source
    if not source.is_file():
        raise UserError(f"{source}: no such folder; expected the folder or zip that holds the RSNA download")
    if source.name.upper() == "DICOMDIR":
        return source.parent
    raise UserError(f"{source}: a file; expected a folder or a zip that holds images and a CSV; name its folder")


def _check_source(built: sources.Dataset, source: pathlib.Path) -> None:
    """Raises `UserError` where a dataset that was already there was built from something else."""
    before = built.metadata.get(sources.SOURCE_NOTE, {})
    now = layouts.note_of(source)
    if before.get("digest", now["digest"]) != now["digest"]:
        raise UserError(
            f"{built.path}: already built from {before['name']!r}, whose files were others than those of "
            f"{printable(str(source))}; choose another --out, or remove that folder first"
        )


def _check_share(built: sources.Dataset, share: float) -> None:
    """Raises `UserError` where a dataset that was already there has a validation split of another share."""
    note = built.metadata.get(layouts.VALIDATION_NOTE, {})
    if note.get("share", share) != share:
        raise UserError(
            f"{built.path}: already built with --validation {note['share']:g}, asked for {share:g}; choose another "
            "--out, or remove it first"
        )


def write_records(builder: Any, *, manual_dir: pathlib.Path | None = None) -> None:
    """Has a TFDS builder write its dataset, of any size, without TensorFlow.

    Folders that a killed builder has left unfinished go first, so the caller must be `alone`.

    Args:
      builder: of the dataset.
      manual_dir: folder of what it is made from, where it wants one.

    Raises:
      Exception: whatever the builder and TFDS raise; see `readable`.
    """
    import tensorflow_datasets as tfds

    from boneage_jax.data import serial, spool

    tfds.disable_progress_bar()
    place = pathlib.Path(builder.data_path)
    for unfinished in place.parent.glob(f"{sources.UNFINISHED}*_{place.name}"):
        shutil.rmtree(unfinished, ignore_errors=True)
    downloads = pathlib.Path(builder.data_dir_root) / "downloads"
    had_downloads = downloads.exists()
    manual = {"manual_dir": str(manual_dir)} if manual_dir else {}
    # TFDS speaks of downloads on standard output, which belongs to the result.
    try:
        with contextlib.redirect_stdout(io.StringIO()), spool.without_tensorflow(), serial.features_in_order():
            builder.download_and_prepare(
                file_format="array_record",
                download_config=tfds.download.DownloadConfig(compute_stats="skip", **manual),
            )
    finally:
        # Nothing is downloaded, but TFDS makes the folder.
        if not had_downloads:
            shutil.rmtree(downloads, ignore_errors=True)


def _builder_config(builder: Any, name: str, request: BuildRequest) -> Any:
    """The builder's config of that name, changed as the options say and renamed after what was changed."""
    known = {config.name: config for config in builder.BUILDER_CONFIGS}
    if name and name not in known:
        raise UserError(f"unknown config {name!r} of {builder.name}; expected one of {', '.join(known)}")
    config = known[name] if name else builder.BUILDER_CONFIGS[0]
    if request.size:
        height, width = request.size
        if min(height, width) < 16:
            raise UserError(f"--size {height}x{width}: expected a height and a width of at least 16 pixels")
        config = config.fitted(height, width, request.encoding, request.quality)
    elif request.encoding != "png":
        raise UserError(f"--encoding {request.encoding} needs a fixed --size, as in --size 500x375")
    if counts := request.counts:
        if builder.name != "hand_phantom":
            raise UserError("numbers of images can be chosen for hand_phantom only")
        suffix = "-".join(str(counts[split]) for split in counts)
        config = dataclasses.replace(config, name=f"{config.name}_{suffix}", **counts)
    return config


def _tidy(folder: pathlib.Path) -> None:
    """Removes a dataset's folder where TFDS has left nothing but its own notes; the rest it removes itself."""
    files = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    if all(path.parts[0] == ".config" or path.name == _LOCK for path in files):
        shutil.rmtree(folder, ignore_errors=True)


def readable(error: Exception, data_dir: pathlib.Path) -> Exception:
    """Turns what TFDS and the operating system raise into a message, where the cause is the user's to mend."""
    found = list(causes(error))
    for cause in found:
        if isinstance(cause, UserError):
            return cause
    text = " ".join(str(cause) for cause in found)
    for cause in found:
        if isinstance(cause, BrokenProcessPool):
            return UserError(
                f"{data_dir}: a worker process was ended from outside, as systems do where memory runs out; the "
                "dataset was not written. Start the same command again, with fewer --workers where memory is short"
            )
        if isinstance(cause, OSError) and cause.errno is not None:
            return UserError(f"{cause.filename or data_dir}: {cause.strerror}; the dataset was not written")
    if any(words in text for words in ("No space left", "RESOURCE_EXHAUSTED", "File too large")):
        return UserError(f"{data_dir}: No space left on device; the dataset was not written. Free space or use --out")
    return error
