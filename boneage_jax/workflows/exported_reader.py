"""Reads hands: python read.py M|F PICTURE... (a PNG for each region, or one .npy), made as network.json says."""

import json
import pathlib
import sys

import cv2
import numpy as np
from jax import export


def main(sex: str, *names: str) -> None:
    """Prints the outputs of network.stablehlo for pictures of one child, or a NumPy file of children of one sex."""
    here = pathlib.Path(__file__)
    about = json.loads(here.with_name("network.json").read_text(encoding="utf-8"))
    network = export.deserialize(bytearray(here.with_name("network.stablehlo").read_bytes()))
    parts = [np.load(n) if n.endswith(".npy") else np.asarray(cv2.imread(n, cv2.IMREAD_GRAYSCALE)) for n in names]
    images, (batch, *size) = parts[0] if len(parts) == 1 else np.stack(parts, -1), about["inputs"][0]["shape"]
    images = images[None] if images.ndim == len(size) else images
    fits = [*images.shape[1:]] == size and images.dtype == np.uint8 and batch in ("b", len(images))
    if not fits or sex not in ("M", "F"):
        sys.exit(f"found {sex}, {images.dtype} {images.shape}; expected M or F, uint8 {(batch, *size)}")
    outputs = network.call(images, np.full(len(images), sex == "M", np.float32))
    for port, values in zip(about["outputs"], outputs, strict=True):
        print(f"{port['name']}, {port['unit']}:", np.asarray(values))
    print(*about["terms"], about["notice"])


if __name__ == "__main__":
    main(*sys.argv[1:]) if len(sys.argv) > 2 else sys.exit(__doc__)
