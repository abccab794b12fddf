"""Set up once: eight virtual CPU devices, quiet libraries, small phantoms, one trained run."""

import importlib.metadata
import os

import hypothesis

LESS_OPTIMISED = "--xla_backend_optimization_level=0"
"""Compiling is most of what the tests do: no optimisation makes them a third faster. It rounds a little otherwise."""
if tuple(map(int, importlib.metadata.version("jaxlib").split(".")[:2])) < (0, 11):
    # The emitters that XLA had before compile twice as fast, and train slower for hours; they went in 0.11,
    # and XLA ends a process that names a flag it does not know.
    LESS_OPTIMISED += " --xla_cpu_use_fusion_emitters=false"
os.environ["XLA_FLAGS"] = " ".join(
    ["--xla_force_host_platform_device_count=8", LESS_OPTIMISED, os.environ.get("XLA_FLAGS", "")]
)
from jaxtyping import install_import_hook

import tests.type_checker

# Shapes and types of arrays are checked at each call of these rooms' functions: see jaxtyping's runtime type checking.
CHECKED_ROOMS = (
    "geometry",
    "canvas",
    "data",
    "phantoms",
    "models",
    "tasks",
    "runs",
    "hand",
    "workflows",
    "analysis",
    "importance",
    "paper",
    "scaling",
    "api",
    "clinical",
)
install_import_hook([f"boneage_jax.{room}" for room in CHECKED_ROOMS], f"{tests.type_checker.__name__}.check")

from boneage_jax.environment import take_collectives_in_order

take_collectives_in_order()

# How long a case takes says how busy the machine is; pytest-timeout ends what hangs.
hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import atexit
import fcntl
import functools
import gc
import pathlib
import shutil
import subprocess
import sys
import tempfile

# Many tests compile the same program, some of them in processes of their own: compiled once a session, kept on disk.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="boneage-jit-")
    atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)
if "BONEAGE_CACHE" not in os.environ:
    os.environ["BONEAGE_CACHE"] = str(pathlib.Path(os.environ["JAX_COMPILATION_CACHE_DIR"]) / "boneage")
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.1"
os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
# Where in Python each operation comes from is of no use here, and takes a tenth of the time before compilation.
os.environ.setdefault("JAX_TRACEBACK_IN_LOCATIONS_LIMIT", "0")

# Tracing makes heaps of objects that live on: looking through them at Python's usual pace is a tenth of the time.
gc.set_threshold(50_000, 20, 20)

import pytest
from absl import flags

flags.FLAGS.mark_as_parsed()  # Grain's worker processes want it

from boneage_jax.config import ExperimentConfig, default_config, validate
from boneage_jax.data.sources import Dataset
from boneage_jax.workflows import build
from boneage_jax.workflows.requests import BuildRequest

REAL = pathlib.Path(__file__).parents[2] / "shared" / "real"
needs_real = pytest.mark.skipif(not REAL.is_dir(), reason="the real material is not here")


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory) -> pathlib.Path:
    """Folder of built datasets, shared by all tests of a process."""
    return tmp_path_factory.mktemp("datasets")


@pytest.fixture(scope="session")
def made_once(tmp_path_factory):
    """Returns a function that has `make` fill a folder in one of the test processes and copies it for the others."""
    base = tmp_path_factory.getbasetemp()
    common = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def made(name: str, make, to: pathlib.Path) -> pathlib.Path:
        kept = common / f"once-{name}"
        with (common / f"once-{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not kept.exists():
                make(kept.with_suffix(".part"))
                kept.with_suffix(".part").rename(kept)
        shutil.copytree(kept, to, dirs_exist_ok=True)
        return to

    return made


@pytest.fixture(scope="session")
def phantoms(data_dir, made_once) -> Dataset:
    """A few phantoms, for tests of plumbing."""
    counts = {"train": 72, "validation": 20, "test": 21}

    def make(folder):
        build.build(BuildRequest("hand_phantom/tiny", out=folder, workers=2, counts=counts))

    made_once("phantoms", make, data_dir)
    return Dataset.open(data_dir, f"hand_phantom/tiny_{'-'.join(map(str, counts.values()))}")


def small_config(data_dir: pathlib.Path, dataset: Dataset, **changes) -> ExperimentConfig:
    """A config whose network is as small as can be; `changes` are dotted keys with `__` for the dot."""
    config = default_config()
    config.data.dir, config.data.name = str(data_dir), dataset.name
    config.data.height, config.data.width = 48, 36
    config.model.widths, config.model.dense = (4, 8), (8,)
    config.train.batch_size = config.eval.batch_size = 16
    config.train.length = "6 steps"
    config.eval.every = config.checkpoint.every = "3 steps"
    config.log.every = "1 steps"
    config.log.tensorboard = False
    for key, value in changes.items():
        section, name = key.split("__")
        config[section][name] = value
    return validate(config)


def small_arguments(data_dir: pathlib.Path, dataset: Dataset, **changes) -> list[str]:
    """A run as small as can be, as a user writes it; `changes` as in `small_config`."""
    values = {
        "data.dir": data_dir,
        "data.name": dataset.name,
        "data.height": 48,
        "data.width": 36,
        # The form that several processes take by themselves: losses of one process are held against theirs.
        "model.kernels": "plain",
        "model.widths": "(4, 8)",
        "model.dense": "(8,)",
        "train.batch_size": 16,
        "eval.batch_size": 16,
        "train.length": "12 steps",
        "eval.every": "6 steps",
        "checkpoint.every": "3 steps",
        "log.every": "1 steps",
        "log.tensorboard": False,
        **{key.replace("__", "."): value for key, value in changes.items()},
    }
    return ["--config=configs/tiny.py", *(f"--config.{key}={value}" for key, value in values.items())]


def boneage(*arguments, env=None, cwd=None, timeout=600) -> subprocess.CompletedProcess:
    """Runs the installed command as a user would; never raises."""
    command = [str(pathlib.Path(sys.executable).parent / "boneage"), *map(str, arguments)]
    environment = {**os.environ, "XLA_FLAGS": LESS_OPTIMISED, **(env or {})}
    return subprocess.run(
        command, capture_output=True, text=True, env=environment, cwd=cwd, timeout=timeout, check=False
    )


@pytest.fixture(scope="session")
def trained(data_dir, phantoms, made_once, tmp_path_factory) -> pathlib.Path:
    """A run that has learnt a little: enough for its answers to differ from child to child."""
    from boneage_jax.train.loop import train

    learning = {"train__length": "60 steps", "train__ema": 0.9, "train__devices": 1, "optimizer__learning_rate": 3e-3}
    config = small_config(data_dir, phantoms, **learning, eval__every="30 steps", checkpoint__every="30 steps")
    return made_once("trained", functools.partial(train, config), tmp_path_factory.mktemp("runs") / "trained")
