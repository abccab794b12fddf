"""What is set before JAX starts, and what a user's environment may and may not change."""

import importlib.util
import json
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

from boneage_jax import environment
from tests.conftest import LESS_OPTIMISED, boneage, small_arguments

FLAG = "--xla_cpu_enable_concurrency_optimized_scheduler"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", ""),
        ("--xla_dump_to=x", "--xla_dump_to=x"),
        ("--xla_force_host_platform_device_count=4", f"{FLAG}=false --xla_force_host_platform_device_count=4"),
        (
            f"--xla_force_host_platform_device_count=4 {FLAG}=true",
            f"--xla_force_host_platform_device_count=4 {FLAG}=true",
        ),
    ],
)
def test_virtual_devices_take_collectives_in_order(monkeypatch, before, after):
    monkeypatch.setenv("XLA_FLAGS", before)
    environment.prepare()
    environment.prepare()
    assert environment.os.environ["XLA_FLAGS"] == after


TELL = """
import json, os, pathlib, sys
from boneage_jax import environment
environment.start_again()
memory = b"x" * (64 << 20)  # by the C library: NumPy asks for huge pages of its own
pages = [line for line in pathlib.Path("/proc/self/smaps_rollup").read_text().splitlines() if "AnonHugePages" in line]
print(json.dumps([os.getpid(), sys.argv[1:], os.environ["GLIBC_TUNABLES"], int(pages[0].split()[1])]))
"""


@pytest.mark.skipif(not environment._huge_pages_can_be_had(), reason="this system has no huge pages to ask for")
@pytest.mark.parametrize(
    ("before", "after", "huge"),
    [
        (None, "glibc.malloc.hugetlb=1", True),
        ("glibc.malloc.arena_max=2", "glibc.malloc.arena_max=2:glibc.malloc.hugetlb=1", True),
        ("glibc.malloc.hugetlb=0", "glibc.malloc.hugetlb=0", False),
    ],
)
def test_memory_comes_in_huge_pages_unless_a_user_says_otherwise(before, after, huge):
    variables = {name: value for name, value in os.environ.items() if name != "GLIBC_TUNABLES"}
    if before:
        variables["GLIBC_TUNABLES"] = before
    process = subprocess.Popen(
        [sys.executable, "-c", TELL, "train", "--run=a b"], env=variables, stdout=subprocess.PIPE, text=True
    )
    pid, arguments, tunables, kilobytes = json.loads(process.communicate()[0])
    assert (pid, arguments, tunables) == (process.pid, ["train", "--run=a b"], after)
    # The kernel gives what it has at hand: half of the array is enough to say that it was asked.
    assert (kilobytes >= 32 << 10) == huge


@pytest.mark.parametrize(
    ("library", "mode", "can"),
    [
        ("glibc 2.36", "always [madvise] never", True),
        ("glibc 2.34", "always [madvise] never", False),
        ("glibc 2.36", "[always] madvise never", False),
        ("glibc 2.36", "always madvise [never]", False),
        (None, "always [madvise] never", False),
    ],
)
def test_huge_pages_are_asked_for_where_they_help(monkeypatch, tmp_path, library, mode, can):
    (tmp_path / "enabled").write_text(mode)
    monkeypatch.setattr(environment, "_HUGE_PAGES_WANT_ADVICE", tmp_path / "enabled")
    monkeypatch.setattr(os, "confstr", lambda name: library, raising=False)
    assert environment._huge_pages_can_be_had() is can


# ---- what a user's environment must not change, or end unsaid --------------------------------------------------------

READ_ONLY = (
    'for place in $PLACES; do mount --bind "$place" "$place" && mount -o remount,bind,ro "$place" || exit 99; done'
)


def read_only(*places):
    """The beginning of a command for which these are read-only, in a name space of mounts of its own."""
    return [
        "unshare",
        "-m",
        "env",
        f"PLACES={' '.join(map(str, places))}",
        "bash",
        "-c",
        f'{READ_ONLY}; exec "$@"',
        "_",
    ]


@pytest.fixture(scope="module")
def may_mount():
    if not pathlib.Path("/dev/shm").is_dir():
        pytest.skip("no /dev/shm here")
    if subprocess.run([*read_only("/dev/shm"), "true"], capture_output=True, check=False).returncode:
        pytest.skip("may not mount here")


@pytest.fixture(scope="module")
def hand(tmp_path_factory):
    picture = tmp_path_factory.mktemp("hand") / "hand.png"
    assert (
        boneage(
            "phantom", "--age", "96", "--sex", "F", "--size", "520x400", "--view", "raw", "--out", picture
        ).returncode
        == 0
    )
    return picture


def started(arguments, *, before=(), without=(), **environment):
    """The installed command in a changed environment; `before` it stands what starts it."""
    kept = {name: value for name, value in os.environ.items() if name not in without}
    command = [*before, str(pathlib.Path(sys.executable).parent / "boneage"), *map(str, arguments)]
    environment = {**kept, "XLA_FLAGS": LESS_OPTIMISED, **environment}
    return subprocess.run(command, env=environment, capture_output=True, timeout=300, check=False)


def read(hand, out, **changes):
    """What the shipped networks say of a radiograph: one row, with the whole pipeline behind it."""
    done = started(["assess", hand, "--sex", "F", "--views", "1", "--out", out / "ages"], **changes)
    assert done.returncode == 0, done.stderr.decode()
    assert b"Traceback" not in done.stderr
    return (out / "ages" / "ages.csv").read_text(), done


@pytest.fixture(scope="module")
def usual(hand, tmp_path_factory):
    text, _ = read(hand, tmp_path_factory.mktemp("usual"))
    assert len(text.splitlines()) == 2
    return text


@pytest.mark.integration
def test_the_same_numbers_whatever_is_set(hand, usual, tmp_path):
    """Types, random numbers, figures; no home, no folder for scratch."""
    changes = {
        "JAX_ENABLE_X64": "1",
        "JAX_DEFAULT_PRNG_IMPL": "rbg",
        "JAX_NUMPY_RANK_PROMOTION": "raise",
        "JAX_THREEFRY_PARTITIONABLE": "true",
        "MPLBACKEND": "nonsense",
        "TMPDIR": "/dev/null",
    }
    text, done = read(hand, tmp_path, without=("HOME",), **changes)
    assert text == usual
    notes = [line for line in done.stderr.decode().splitlines() if line.startswith("boneage:")]
    names = "JAX_DEFAULT_PRNG_IMPL, JAX_ENABLE_X64, JAX_NUMPY_RANK_PROMOTION"
    assert notes == [f"boneage: not used, for it would change the numbers: {names}"]


@pytest.mark.integration
@pytest.mark.usefixtures("may_mount")
def test_the_same_numbers_where_little_may_be_written(hand, usual, tmp_path):
    (tmp_path / "home").mkdir()
    before = read_only("/dev/shm", tmp_path / "home")
    assert read(hand, tmp_path, before=before, HOME=str(tmp_path / "home"))[0] == usual


@pytest.mark.integration
def test_text_in_any_locale(hand, usual, tmp_path):
    """Names that are no ASCII and no UTF-8, on a standard output that can show neither."""
    folder = tmp_path / "Hände"
    folder.mkdir()
    shutil.copy(hand, folder / "Mädchen ♀.png")
    changes = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}
    text, done = read(folder / "Mädchen ♀.png", tmp_path, **changes)
    assert (
        (tmp_path / "ages" / "ages.csv")
        .read_text(encoding="utf-8")
        .splitlines()[1]
        .endswith(usual.splitlines()[1].partition(",")[2])
    )
    assert "Mädchen ♀.png" in text
    assert rb"M\xe4dchen \u2640.png" in done.stdout


@pytest.mark.parametrize(
    ("command", "platform"), [("assess", "nonsense"), ("train", "cuda"), ("phantom", "cuda"), ("evaluate", "nonsense")]
)
def test_devices_that_are_not_here(hand, trained, data_dir, phantoms, tmp_path, platform, command):
    if platform == "cuda" and importlib.util.find_spec("jax_cuda13_plugin"):
        pytest.skip("they are")
    arguments = {
        "assess": ["assess", hand, "--sex", "F"],
        "train": ["train", *small_arguments(data_dir, phantoms), "--run", tmp_path / "run"],
        "phantom": ["phantom", "--age", "9", "--size", "64x48", "--out", tmp_path / "a.png"],
        "evaluate": ["evaluate", trained],
    }[command]
    done = started(arguments, JAX_PLATFORMS=platform)
    assert done.returncode == 2
    (line,) = done.stderr.decode().splitlines()
    assert line.startswith(f"boneage: JAX_PLATFORMS='{platform}': no such devices are found here")
    assert "JAX_PLATFORMS=cpu" in line
    assert not done.stdout


@pytest.mark.integration
def test_a_training_is_the_same_in_any_environment(data_dir, phantoms, tmp_path):
    """Types, random numbers, figures, and TensorBoard's files where processes cannot share semaphores."""
    arguments = ["train", *small_arguments(data_dir, phantoms, train__length="2 steps", log__tensorboard=True)]
    changed = {
        "JAX_ENABLE_X64": "1",
        "JAX_THREEFRY_PARTITIONABLE": "0",
        "JAX_RANDOM_SEED_OFFSET": "7",
        "MPLBACKEND": "nonsense",
        "HOME": "/dev/null",
    }
    may = subprocess.run([*read_only("/dev/shm"), "true"], capture_output=True, check=False).returncode == 0
    losses = []
    for name, changes in (("usual", {}), ("changed", {**changed, "before": read_only("/dev/shm") if may else ()})):
        run = tmp_path / name
        done = started([*arguments, "--run", run], **changes)
        assert done.returncode == 0, done.stderr.decode()
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        losses.append([[line[key] for key in ("loss", "eval_mae") if key in line] for line in lines])
        assert (run / "tensorboard").is_dir() == (not changes or not may)
        if changes and may:
            assert (
                b"no TensorBoard files, metrics.jsonl alone: /dev/shm, where processes keep their semaph" in done.stderr
            )
    assert losses[0] == losses[1]
    report = started(["evaluate", tmp_path / "changed", "--split", "validation", "--report"], **changed)
    assert report.returncode == 0, report.stderr.decode()
    assert b"matplotlib" not in report.stderr.lower()


@pytest.mark.usefixtures("may_mount")
def test_processes_that_cannot_share_semaphores():
    code = (
        "from boneage_jax import environment, parallel\n"
        "print(environment.no_semaphores()); print(list(parallel.ordered_map(abs, range(-3, 0), workers=2)))"
    )
    done = subprocess.run(
        [*read_only("/dev/shm"), sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    reason, results = done.stdout.splitlines()
    assert reason == "/dev/shm, where processes keep their semaphores, cannot be used (Read-only file system)"
    assert results == "[3, 2, 1]"
    assert done.stderr == f"boneage: one process in place of 2: {reason}\n"
    assert environment.no_semaphores() == ""


@pytest.mark.parametrize("name", environment.CHANGE_NUMBERS)
@pytest.mark.parametrize("usual", [True, False])
def test_variables_that_change_numbers_are_taken_away_and_named(name, usual, monkeypatch, capsys):
    defaults = environment.CHANGE_NUMBERS[name]
    for value in (text for default in defaults for text in (default, default.upper())) if usual else ("7", "nonsense"):
        monkeypatch.setenv(name, value)
        environment.prepare()
        assert name not in os.environ
        said = capsys.readouterr().err
        assert not said if usual else name in said
    environment.prepare()
    assert not capsys.readouterr().err


def test_defaults_are_those_of_jax():
    """Of the installed one, in a process where no variable is set."""
    code = (
        "import json, sys, jax\n"
        "of = lambda name: getattr(jax.config, name.lower(), None)\n"
        "print(json.dumps({name: str(getattr(of(name), 'name', of(name))) for name in sys.argv[1:]}))"
    )
    variables = {name: value for name, value in os.environ.items() if name not in environment.CHANGE_NUMBERS}
    done = subprocess.run(
        [sys.executable, "-c", code, *environment.CHANGE_NUMBERS],
        env=variables,
        capture_output=True,
        text=True,
        check=True,
    )
    found = {name: value.lower() for name, value in json.loads(done.stdout).items() if value != "None"}
    assert len(found) >= 7
    assert {name: value for name, value in found.items() if value not in environment.CHANGE_NUMBERS[name]} == {}


def test_they_are_named_as_jax_names_them():
    import jax

    known = {name for name in environment.CHANGE_NUMBERS if hasattr(jax.config, name.lower())}
    assert known >= {"JAX_ENABLE_X64", "JAX_DEFAULT_PRNG_IMPL", "JAX_THREEFRY_PARTITIONABLE", "JAX_RANDOM_SEED_OFFSET"}


@pytest.mark.parametrize(("gib", "named"), [(1.5, True), (16, False)])
def test_a_small_limit_on_memory_is_named(gib, named):
    """Said before a library can end the process: some end it without a word."""
    code = (
        f"import resource; resource.setrlimit(resource.RLIMIT_AS, ({int(gib * 2**30)},) * 2)\n"
        "from boneage_jax import environment; environment.prepare()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ("this process may use 1.5 GiB of address space (ulimit -v)" in done.stderr) == named
