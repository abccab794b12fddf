"""Records of equal features are equal bytes, whichever process writes them."""

import json
import subprocess
import sys

CODE = """
import contextlib, hashlib
import numpy as np
from tensorflow_datasets.core import example_serializer, features
from boneage_jax.data.serial import features_in_order
names = [f"feature_{n}" for n in range(20)]
serializer = example_serializer.ExampleSerializer({n: features.TensorInfo(shape=(), dtype=np.int64) for n in names})
with features_in_order():
    data = serializer.serialize_example({name: n for n, name in enumerate(names)})
example = serializer.get_tf_example({name: n for n, name in enumerate(names)})
read = type(example).FromString(data)
assert {name: value.int64_list.value[0] for name, value in read.features.feature.items()} == {
    name: n for n, name in enumerate(names)
}
print(hashlib.sha256(data).hexdigest(), [data.find(name.encode()) for name in sorted(names)])
"""


def test_the_same_bytes_in_every_process():
    said = {
        subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True).stdout
        for _ in range(3)
    }
    assert len(said) == 1
    places = json.loads(said.pop().split(maxsplit=1)[1])
    assert min(places) >= 0
    assert places == sorted(places), "in the order of their names"
