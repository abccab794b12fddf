"""Images a second from stored records to a device-ready uint8 batch, against PyTorch's DataLoader.

    pip install -e '.[reference]'
    python -m benchmarks.input_pipeline                       # 2044 x 1514 pictures to 500 x 375

Both sides read the same radiographs, decode them with OpenCV to grey, fit them into the same size by averaging areas,
and hand over batches in random order; augmentation is left to the device on both. Sides:

- `torch`: DataLoader over the PNG files with OpenCV's calls as PyTorch users write them (`imdecode`, `resize` by area);
- `torch, our fit`: the same, but calling this project's `images.fit`, which resizes in two steps;
- `png`: our pipeline over the same PNG bytes in ArrayRecord;
- `small png`, `small jpeg`, `small raw`: over datasets built at the size of the batch (`boneage data build --size`).

Every side gets one core: one reading thread here, one worker process there, the whole process pinned to one processor.
"""

from __future__ import annotations

import argparse
import pathlib
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import cv2
import numpy as np

from benchmarks.common import hardware, measure_alternately, median, paired_ratio, save, use_one_core, versions

BATCH, HEIGHT, WIDTH = 32, 500, 375


def make_pictures(folder: pathlib.Path, count: int, height: int, width: int) -> None:
    """Writes phantoms, enlarged and with grain, as PNG files of the size of RSNA's, with their table."""
    import jax
    import jax.numpy as jnp

    from boneage_jax.phantoms.camera import Camera
    from boneage_jax.phantoms.render import render

    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    rows = ["id,boneage,male"]
    for n in range(count):
        phantom = render(
            jax.random.key(n), jnp.float32(12 + n % 200), jnp.float32(n % 2), Camera(height=256, width=192)
        )
        large = cv2.resize(np.asarray(phantom.image), (width, height), interpolation=cv2.INTER_CUBIC)
        grain = generator.normal(0, 0.006, large.shape)
        cv2.imwrite(str(folder / f"{n}.png"), np.clip((large + grain) * 255, 0, 255).astype(np.uint8))
        rows.append(f"{n},{12 + n % 200},{bool(n % 2)}")
    (folder / "train.csv").write_text("\n".join(rows) + "\n")


def rate(batches: Iterator[Any], images: int, warm_up: int = 2) -> float:
    """Images a second over `images` images, after some batches that are not counted."""
    for _ in range(warm_up):
        next(batches)
    start = time.perf_counter()
    for _ in range(images // BATCH):
        next(batches)
    return images // BATCH * BATCH / (time.perf_counter() - start)


def resize_as_usual(picture: np.ndarray) -> np.ndarray:
    """OpenCV's area averaging in one call, centred on black."""
    scale = min(HEIGHT / picture.shape[0], WIDTH / picture.shape[1])
    h, w = round(picture.shape[0] * scale), round(picture.shape[1] * scale)
    canvas = np.zeros((HEIGHT, WIDTH), np.uint8)
    top, left = (HEIGHT - h) // 2, (WIDTH - w) // 2
    canvas[top : top + h, left : left + w] = cv2.resize(picture, (w, h), interpolation=cv2.INTER_AREA)
    return canvas


def our_fit(picture: np.ndarray) -> np.ndarray:
    """Resizing as the project does it, in two steps."""
    from boneage_jax.data import images

    return images.fit(picture, HEIGHT, WIDTH)


def torch_side(folder: pathlib.Path, resize: Callable[[np.ndarray], np.ndarray]) -> Callable[[int], Iterator[Any]]:
    """Batches of a DataLoader over the PNG files; each worker runs OpenCV with one thread, as ours does."""
    import torch
    from torch.utils.data import DataLoader, Dataset

    files = sorted(folder.glob("*.png"))

    class Files(Dataset):
        def __len__(self) -> int:
            return len(files)

        def __getitem__(self, n: int) -> torch.Tensor:
            picture = cv2.imdecode(np.frombuffer(files[n].read_bytes(), np.uint8), cv2.IMREAD_GRAYSCALE)
            return torch.from_numpy(resize(np.asarray(picture)))

    torch.set_num_threads(1)

    def batches(epochs: int) -> Iterator[Any]:
        loader = DataLoader(
            Files(), BATCH, shuffle=True, num_workers=1, prefetch_factor=4, persistent_workers=True, drop_last=True
        )
        for _ in range(epochs):
            yield from loader

    return batches


def our_side(data: pathlib.Path, name: str) -> Callable[[int], Iterator[Any]]:
    """Batches of our pipeline, put on the device."""
    import jax

    from boneage_jax.data.examples import View
    from boneage_jax.data.pipeline import training_batches
    from boneage_jax.data.sources import Dataset

    records = Dataset.open(data, name).split("train", View(HEIGHT, WIDTH))

    def batches(_: int) -> Iterator[Any]:
        for batch in training_batches(records, batch_size=BATCH, seed=0, threads=1, prefetch=4):
            yield jax.device_put(batch["image"])

    return batches


def main() -> None:
    """Builds the datasets, measures all sides in turn, prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=128, help="number of radiographs")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=pathlib.Path, help="where to write the results too")
    options = parser.parse_args()

    from boneage_jax.workflows import build
    from boneage_jax.workflows.requests import BuildRequest

    machine = hardware()
    with tempfile.TemporaryDirectory() as scratch:
        folder, data = pathlib.Path(scratch) / "png", pathlib.Path(scratch) / "data"
        make_pictures(folder, options.pictures, 2044, 1514)
        names = {"png": build.build(BuildRequest("rsna_bone_age/full", out=data, source=folder, workers=1)).name}
        for encoding in ("png", "jpeg", "raw"):
            small = build.build(
                BuildRequest(
                    "rsna_bone_age", out=data, source=folder, workers=1, size=(HEIGHT, WIDTH), encoding=encoding
                )
            )
            names[f"small {encoding}"] = small.name
        use_one_core()

        makers: dict[str, Callable[[int], Iterator[Any]]] = {
            "torch": torch_side(folder, resize_as_usual),
            "torch, our fit": torch_side(folder, our_fit),
        }
        makers |= {name: our_side(data, dataset) for name, dataset in names.items()}
        # Cheap sides read more images, so that each measurement takes a second or more.
        images = {name: options.pictures * (8 if name.startswith("small") else 2) for name in makers}

        def measure(name: str) -> Callable[[], float]:
            return lambda: rate(makers[name](4), images[name])

        values = measure_alternately(options.rounds, {name: measure(name) for name in makers})

    packages = ("jax", "grain", "tensorflow-datasets", "torch", "opencv-python-headless")
    print(f"{machine}, of which one is used; {versions(*packages)}")
    print(f"{options.pictures} PNG files of 2044 x 1514 to batches of {BATCH} x {HEIGHT} x {WIDTH}")
    print(f"medians of {options.rounds} rounds in turn")
    print(f"{'side':<16}{'images/s a core':>18}{'of torch':>10}")
    results = {}
    for name, measured in values.items():
        results[name] = {"images_per_second": median(measured), "of_torch": paired_ratio(values, name, "torch")}
        print(f"{name:<16}{results[name]['images_per_second']:>18.1f}{results[name]['of_torch']:>10.2f}")
    save(options.json, {"hardware": machine, "results": results})


if __name__ == "__main__":
    main()
