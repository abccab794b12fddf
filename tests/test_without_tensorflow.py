"""No command imports TensorFlow: its import is made to fail, and to name the way that led there."""

import json
import pathlib
import subprocess
import sys

import pytest

from boneage_jax.data import images
from tests.conftest import small_arguments

GUARDED = '''
import importlib.abc, json, sys, traceback

class NoTensorFlow(importlib.abc.MetaPathFinder):
    """Raises where TensorFlow is imported, with the way that led there; who only asks for it is told that it is not."""
    asked = []
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("tensorflow", "tensorflow_io"):
            if sys._getframe(1).f_code.co_name == "_find_spec" and sys._getframe(2).f_code.co_name == "find_spec":
                return None  # importlib.util.find_spec
            way = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_stack()[:-1]]
            way = [line for line in way if "importlib" not in line]
            self.asked.append(way[-1])
            raise ModuleNotFoundError("TensorFlow is imported by:\\\\n  " + "\\\\n  ".join(way), name=name)
        return None

sys.meta_path.insert(0, NoTensorFlow())
from boneage_jax.data import spool
spool.MEMORY_BYTES = 4096  # as if every split were larger than memory
from boneage_jax.cli import main
for words in json.loads(sys.argv[1]):
    status = main(words)
    if status:
        sys.exit(f"boneage {' '.join(words)}: exit status {status}")
print("asked only by " + json.dumps(NoTensorFlow.asked))
'''


@pytest.mark.integration
def test_no_command_imports_tensorflow(tmp_path):
    from tests import rsna_layouts as make

    download = make.official(tmp_path / "rsna", make.children(12, 1377), make.children(6, 1386), make.children(4, 4360))
    data, run = tmp_path / "data", tmp_path / "run"
    picture = tmp_path / "hand.png"

    class Named:
        name = "hand_phantom/raw_tiny_16-8-8"

    age = small_arguments(data, Named, train__length="2 steps", eval__every="2 steps", train__batch_size=8)
    commands = [
        ["data", "build", "hand_phantom/raw_tiny", "--out", data, "--counts", "16,8,8", "--workers", "1"],
        ["data", "build", "rsna_bone_age", "--from", download, "--out", data, "--workers", "1"],
        ["data", "info", "rsna_bone_age/full", "--out", data],
        ["phantom", "--age", "96", "--sex", "F", "--view", "raw", "--size", "260x208", "--out", picture],
        ["train", *age, f"--run={run}"],
        ["evaluate", run, "--report"],
        ["assess", picture, "--sex", "F", "--run", run, "--as-is"],
        ["register", Named.name, "--data", data, "--segmentation", "shipped", "--landmarks", "shipped", "--views", "1"],
        ["assess", picture, "--sex", "F", "--views", "1", "--out", tmp_path / "ages"],
    ]
    done = subprocess.run(
        [sys.executable, "-c", GUARDED, json.dumps([[str(word) for word in words] for words in commands])],
        capture_output=True, text=True, timeout=400, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:] + done.stdout[-500:]
    assert images.read(picture).shape == (260, 208)
    # Libraries may look whether it is there and do without; TFDS never may: it looks only when it needs it.
    asked = json.loads(done.stdout.rpartition("asked only by ")[2])
    assert not [way for way in asked if "tensorflow_datasets" in way], asked
    assert list(pathlib.Path(data).glob("registered_hands/*/*/registered.json"))
