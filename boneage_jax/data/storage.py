"""How a dataset's images are stored: as they are, or smaller and cheaper to decode."""

from __future__ import annotations

import dataclasses
from typing import Any, Self

import numpy as np
import tensorflow_datasets as tfds

from boneage_jax.data import images


@dataclasses.dataclass
class StorageConfig(tfds.core.BuilderConfig):
    """Builder config that says how images are stored.

    Attributes:
      height: pixels that images are fitted into; 0 to keep each image's own size and bytes.
      width: likewise.
      encoding: `png` (lossless), `jpeg` (about five times cheaper to decode), `raw` (free to decode, largest).
      quality: of JPEG, 1 to 100.
    """

    height: int = 0
    width: int = 0
    encoding: images.Encoding = "png"
    quality: int = 95

    def fitted(self, height: int, width: int, encoding: images.Encoding, quality: int) -> Self:
        """Returns this config with images of a fixed size, named after what it does, as in `500x375_jpeg95`."""
        suffix = f"jpeg{quality}" if encoding == "jpeg" else encoding
        changes: dict[str, Any] = {
            "name": f"{height}x{width}_{suffix}",
            "description": f"Fitted into {height} x {width} pixels, {suffix}.",
            "height": height,
            "width": width,
            "encoding": encoding,
            "quality": quality,
        }
        return dataclasses.replace(self, **changes)

    def store(self, data: bytes, grey: images.Grey) -> bytes:
        """Returns what is stored for an image: its own bytes, or its pixels fitted and encoded anew."""
        if not self.height:
            return data
        return images.encode(images.fit(grey, self.height, self.width), self.encoding, self.quality)

    def feature_value(self, data: bytes) -> bytes | np.ndarray:
        """Returns stored bytes as the image feature of `image_feature` takes them."""
        if self.encoding == "raw":
            return np.frombuffer(data, np.uint8).reshape(self.height, self.width, 1)
        return data


def image_feature(config: StorageConfig) -> tfds.features.FeatureConnector:
    """Returns the feature of the stored image: encoded bytes, or raw ones of a fixed size."""
    if config.encoding == "raw":
        return tfds.features.Tensor(
            shape=(config.height, config.width, 1), dtype=np.uint8, encoding=tfds.features.Encoding.BYTES
        )
    # Original files may be in colour or 16-bit all the same: their bytes are kept, and `Records` brings them to grey.
    return tfds.features.Image(shape=(None, None, 1), dtype=np.uint8)
