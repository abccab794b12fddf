"""Has TFDS write equal records as the same bytes, in whatever process.

A record's features are a map, which protobuf writes in an order that differs from one process to the next unless it is
told otherwise (https://protobuf.dev/programming-guides/serialization-not-canonical/). A dataset's fingerprint is that
of its bytes: so one that is built again, after a loss or on another machine, would not be the one that runs know.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from tensorflow_datasets.core import example_serializer


@contextlib.contextmanager
def features_in_order() -> Iterator[None]:
    """Has TFDS serialise the features of a record in the order of their names for as long as the context lasts."""
    serializer = example_serializer.ExampleSerializer
    original = serializer.serialize_example

    def serialize_example(self: example_serializer.ExampleSerializer, example: Any) -> bytes:
        serialized: bytes = self.get_tf_example(example).SerializeToString(deterministic=True)
        return serialized

    serializer.serialize_example = serialize_example
    try:
        yield
    finally:
        serializer.serialize_example = original
