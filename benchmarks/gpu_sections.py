"""The sections of `benchmarks.gpu`, each run as `python -m benchmarks.gpu_sections NAME --scratch FOLDER --seconds S`.

Rows go to standard output as JSON lines, all else to standard error. JAX is imported by each section: its variables
are set by then, and the processes that a section starts take what they want of it themselves.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import pathlib
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmarks.common import images_a_second, median, versions
from benchmarks.gpu_report import NO_GPU, Context
from benchmarks.gpu_sides import Case, compare

BATCH = 64
"""Of the configs of the paper's experiments."""

SIZE = (500, 375)

APART = 2.0
"""Months that a reading may differ from the processor's: matrix products of float32 are rounded to TF32 on GPUs."""

RADIOGRAPH = (520, 400)
_RADIOGRAPHS, _READINGS = "radiographs.npy", "readings.json"
DATASET, COUNTS = "hand_phantom/tiny", {"train": 2400, "validation": 200, "test": 400}
TINY_COUNTS = {"train": 64, "validation": 16, "test": 16}
_TINY_SIZES = {"m46": (130, 130), "resnet50": (64, 48)}
"""About the smallest that they can take."""


class Wrong(Exception):
    """Something was measured that must not be."""

    exit_status = 1


class NoAccelerator(Wrong):
    """JAX goes on with the processor, in silence, where its driver or plug-in is missing."""

    exit_status = NO_GPU


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one section; returns 0 where it ended well, `NO_GPU`, or 1."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("section", choices=MEASURES)
    parser.add_argument("--scratch", type=pathlib.Path, required=True, help="folder that sections share")
    parser.add_argument("--seconds", type=float, required=True, help="after which it will be killed")
    parser.add_argument("--tiny", action="store_true")
    options = parser.parse_args(arguments)
    end = time.monotonic() + options.seconds
    # What libraries print must not get between the rows.
    sys.stdout.flush()
    stream = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    context = Context(stream, options.scratch, end, options.tiny)
    try:
        MEASURES[options.section](context)
    except Exception as error:
        traceback.print_exc()
        first, *_ = [*str(error).splitlines(), ""]
        context.failed(f"{type(error).__name__}: {first[:300]}")
        return error.exit_status if isinstance(error, Wrong) else 1
    return 0


# ---- devices --------------------------------------------------------------------------------------------------------


def devices(context: Context) -> None:
    """What is here, and the two ceilings that everything else is held against."""
    for what, value in _driver():
        context.add(what=what, value=value)
    packages = ("torch", "tensorflow-datasets", "grain", "array-record", "ml-collections", "opencv-python-headless")
    context.add(what="Python", value=sys.version.split()[0])
    context.add(what="packages", value=versions("jax", "jaxlib", "jax-cuda13-plugin", "flax", "optax", *packages))
    import jax
    import jax.numpy as jnp

    from boneage_jax.models import ops
    from boneage_jax.planning import chips

    found = jax.devices()
    device = found[0]
    context.add(what="devices", value=f"{len(found)} x {device.device_kind} ({device.platform})")
    if device.platform == "cpu" and not context.tiny:
        raise NoAccelerator("JAX finds no accelerator; --tiny rehearses on a processor")
    kernels = ops.resolve_kernels("auto")
    context.add(what="kernels that `auto` stands for", value=kernels)
    if kernels != ("cpu" if device.platform == "cpu" else "plain"):
        raise Wrong(f"on {device.platform} the kernels are {kernels}")
    limit = (device.memory_stats() or {}).get("bytes_limit")
    if limit:
        context.add(what="memory that JAX takes at first", value=f"{limit / 2**30:.1f} GiB")
    chip = chips.of_device(device.device_kind)
    if chip:
        rates = f"{chip.flops / 1e12:.0f} TFLOP/s, {chip.bandwidth / 1e12:.2f} TB/s"
        context.add(what="published rates, bfloat16", value=rates)

    side = 256 if context.tiny else 8192
    # Random numbers: chips run faster on zeros.
    a, b = (jax.random.normal(jax.random.key(n), (side, side), jnp.bfloat16) for n in range(2))
    seconds = _timed(jax.jit(jnp.matmul), a, b)
    rate = 2 * side**3 / seconds
    share = f", {100 * rate / chip.flops:.0f}% of the published rate" if chip else ""
    context.add(what=f"bfloat16 product, {side} x {side}", value=f"{rate / 1e12:.4g} TFLOP/s{share}")
    count = 2**18 if context.tiny else 2**29
    numbers = jax.random.normal(jax.random.key(2), (count,), jnp.float32)
    seconds = _timed(jax.jit(lambda x: x + 1), numbers)
    rate = 2 * 4 * count / seconds
    share = f", {100 * rate / chip.bandwidth:.0f}% of the published rate" if chip else ""
    context.add(what=f"reading and writing {4 * count / 2**30:.4g} GiB", value=f"{rate / 1e12:.4g} TB/s{share}")


def _driver() -> list[tuple[str, str]]:
    """What the driver says of its devices; nothing where there is none."""
    fields = "name,memory.total,driver_version,clocks.sm,power.limit"
    try:
        done = subprocess.run(
            ["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader"],
            capture_output=True, text=True, timeout=20, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return [("driver", "no nvidia-smi here")]
    return [(fields.replace(",", ", "), line.strip()) for line in done.stdout.splitlines()]


def _timed(function: Callable[..., Any], *arguments: Any, repeats: int = 20, rounds: int = 5) -> float:
    """Returns the median over rounds of the seconds of one call, many calls of a round waited for together."""
    import jax

    jax.block_until_ready(function(*arguments))
    taken = []
    for _ in range(rounds):
        start = time.perf_counter()
        for _ in range(repeats):
            result = function(*arguments)
        jax.block_until_ready(result)
        taken.append((time.perf_counter() - start) / repeats)
    return median(taken)


# ---- training steps -------------------------------------------------------------------------------------------------


def m46(context: Context) -> None:
    """The paper's network."""
    if context.tiny:
        compare(context, Case("m46", 2, _TINY_SIZES["m46"], "float32"), rounds=2, block=0.0)
    else:
        compare(context, Case("m46", BATCH, SIZE))


def resnet50(context: Context) -> None:
    """ResNet-50."""
    if context.tiny:
        compare(context, Case("resnet50", 2, _TINY_SIZES["resnet50"], "float32"), rounds=2, block=0.0)
    else:
        compare(context, Case("resnet50", BATCH, SIZE))


def largest(context: Context) -> None:
    """Most images of a step that fit: the size that a straight line foretells is tried, and others near it."""
    import jax

    stats = jax.devices()[0].memory_stats() or {}
    dtype = "float32" if context.tiny else "bfloat16"
    for network in ("m46", "resnet50"):
        if network != "m46" and context.left() < 30:
            context.add(network=network, note="no time left")
            break
        size, unit, start = (_TINY_SIZES[network], 1, 2) if context.tiny else (SIZE, 8, BATCH)
        needed = [_needed(network, batch, size, dtype) for batch in (start, 2 * start)]
        # Processors do not say how much they have: a rehearsal has room for little more than the second size.
        limit = stats.get("bytes_limit", 1.2 * needed[1])
        foretold = int(start + (limit - needed[0]) * start / (needed[1] - needed[0]))
        gib = [f"{value / 2**30:.2f} GiB" for value in (*needed, limit)]
        note = f"foretold: {start} need {gib[0]}, {2 * start} need {gib[1]}, {gib[2]} are there"
        context.add(network=network, images=foretold, note=note)

        def fits(batch: int, network: str = network, size: tuple[int, int] = size) -> bool:
            found = _tried(network, batch, size, dtype)
            if isinstance(found, str):
                context.add(network=network, images=batch, fits=False, note=found)
                return False
            context.add(network=network, images=batch, fits=True, **{"images/s": batch / found})
            return True

        if not search(foretold, unit, fits, go_on=lambda: context.left() > 15, tries=2 if context.tiny else 4):
            raise Wrong(f"{network}: none of the sizes tried fits")


def search(foretold: int, unit: int, fits: Callable[[int], bool], *, go_on: Callable[[], bool], tries: int) -> int:
    """Returns the largest size tried that fits, 0 for none.

    Args:
      foretold: the first that is tried.
      unit: that sizes are multiples of.
      fits: tries a size.
      go_on: whether there is time to try another, once one fits.
      tries: at most.
    """
    best, too_large, size = 0, 10**9, foretold
    for _ in range(tries):
        size = max(unit, size // unit * unit)
        if not best < size < too_large or (best and not go_on()):
            break
        if fits(size):
            best = size
            size = min(int(1.08 * size), (size + too_large) // 2)
        else:
            too_large = size
            size = (best + too_large) // 2 if best else int(0.88 * size)
    return best


def _needed(network: str, batch: int, size: tuple[int, int], dtype: str) -> float:
    """Bytes that a step needs at its largest, as its compiler counts."""
    from benchmarks import step_jax

    ready = step_jax.ready(step_jax.config_of(network, batch=batch, dtype=dtype, size=size))
    memory = ready.compile().memory_analysis()
    kept = memory.argument_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes
    return float(kept + memory.temp_size_in_bytes + memory.generated_code_size_in_bytes)


def _tried(network: str, batch: int, size: tuple[int, int], dtype: str) -> float | str:
    """Seconds of a step of that many images, or why there is none."""
    import jax

    from benchmarks import step_jax

    gc.collect()  # what the last try held
    try:
        ready = step_jax.ready(step_jax.config_of(network, batch=batch, dtype=dtype, size=size))
        ready.seconds(1)
        return ready.seconds(3) / 3
    except (jax.errors.JaxRuntimeError, MemoryError) as error:
        return str(error).splitlines()[0][:200] or type(error).__name__


# ---- data, resume, training -----------------------------------------------------------------------------------------


def data(context: Context) -> None:
    """Draws what `predict` and `hand` look at, and builds what `resume` and `train` read."""
    from boneage_jax.phantoms import export
    from boneage_jax.phantoms.series import Series
    from boneage_jax.workflows import build
    from boneage_jax.workflows.requests import BuildRequest

    # As acquired, from toddlers to adults.
    series = Series(2017, "raw", (RADIOGRAPH,))
    ages = np.linspace(24, 210, 2 if context.tiny else 16)
    drawn = [export.grey(series.draw("test", n, age, n % 2 == 0)) for n, age in enumerate(ages)]
    np.save(context.scratch / _RADIOGRAPHS, np.stack(drawn))
    counts = TINY_COUNTS if context.tiny else COUNTS
    start = time.perf_counter()
    cores = len(os.sched_getaffinity(0))
    built = build.build(BuildRequest(DATASET, out=context.scratch / "data", workers=cores, counts=counts))
    seconds = time.perf_counter() - start
    total = sum(built.splits.values())
    context.add(dataset=built.name, images=total, seconds=seconds, cores=cores, **{"images/s": total / seconds})
    (context.scratch / "dataset").write_text(built.name)
    if context.left() > 25:
        start = time.perf_counter()
        months, _ = _read_ages(context)
        (context.scratch / _READINGS).write_text(json.dumps(months))
        seconds = time.perf_counter() - start
        context.add(dataset="the radiographs, read by the processor", images=len(months), seconds=seconds)


def _arguments(context: Context, **settings: Any) -> list[str]:
    """`--config=...` of a run of the tiny config on the phantoms of `data`."""
    built = context.scratch / "dataset"
    if not built.exists():
        raise Wrong("the phantoms of the section data are not there")
    values: dict[str, Any] = {
        "data.dir": context.scratch / "data", "data.name": built.read_text(), "log.tensorboard": False,
    }  # fmt: skip
    if context.tiny:
        values |= {
            "data.height": 48, "data.width": 36, "model.widths": "(4, 8)", "model.dense": "(8,)",
            "train.batch_size": 8, "eval.batch_size": 8,
        }  # fmt: skip
    values |= {name.replace("__", "."): value for name, value in settings.items()}
    return ["--config=configs/tiny.py", *(f"--config.{key}={value}" for key, value in values.items())]


def resume(context: Context) -> None:
    """Stops a run by SIGTERM, starts it again, and holds all that it keeps against an unbroken run's, bit for bit.

    Each is a program of its own, as a user's would be, so that the one resumed compiles anew and may be given other
    kernels. Where they differ the same is tried with XLA's deterministic operations.
    """
    for name, flags in (("as it is", ""), ("--xla_gpu_deterministic_ops=true", "--xla_gpu_deterministic_ops=true")):
        if flags and (context.left() < 30 or context.tiny):
            context.add(flags=name, note="no time left")
            break
        if _resume(context, name, flags):
            return
    raise Wrong("the resumed run is another than the unbroken one")


def _resume(context: Context, name: str, flags: str) -> bool:
    steps, shown = (160, 10) if context.tiny else (1500, 40)
    start = time.monotonic()
    environment = {**os.environ, "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {flags}".strip()}
    folders = {kind: context.scratch / f"{kind}-{len(context.rows)}" for kind in ("unbroken", "resumed")}
    every = f"{steps} steps"
    arguments = _arguments(
        context, train__length=every, eval__every=every, checkpoint__every=every, log__every="1 steps"
    )

    def begin(kind: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "boneage_jax.cli", "train", *arguments, f"--run={folders[kind]}"]
        return subprocess.Popen(command, env=environment)

    def ended(process: subprocess.Popen[bytes], expected: int) -> None:
        status = process.wait()
        if status != expected:
            raise Wrong(f"training ended with {status}, expected {expected}")

    # Side by side: nothing is timed here.
    unbroken, victim = begin("unbroken"), begin("resumed")
    while len(_losses(folders["resumed"])) < shown and victim.poll() is None:
        time.sleep(0.01)
    victim.send_signal(signal.SIGTERM)
    ended(victim, 75)
    stopped = max(_losses(folders["resumed"]))
    ended(begin("resumed"), 0)
    ended(unbroken, 0)
    losses = {kind: _losses(folder) for kind, folder in folders.items()}
    differing = [step for step in losses["unbroken"] if losses["unbroken"][step] != losses["resumed"].get(step)]
    kept = {kind: _arrays(folder, steps) for kind, folder in folders.items()}
    apart = [
        float(np.max(np.abs(a.astype(np.float64) - b.astype(np.float64)), initial=0.0))
        for a, b in zip(kept["unbroken"], kept["resumed"], strict=True)
    ]
    same = all(a.tobytes() == b.tobytes() for a, b in zip(kept["unbroken"], kept["resumed"], strict=True))
    context.add(
        flags=name,
        steps=steps,
        stopped_at=stopped,
        arrays=len(apart),
        bit_exact=same,
        largest_difference=max(apart),
        first_differing_loss=f"step {differing[0]}" if differing else "none",
        seconds=time.monotonic() - start,
    )
    return same and not differing


def _losses(folder: pathlib.Path) -> dict[int, float]:
    """Losses of a run by step, as far as its log has them."""
    log = folder / "metrics.jsonl"
    # The last line may be under way.
    whole = log.read_text().rpartition("\n")[0].splitlines() if log.exists() else []
    return {line["step"]: line["loss"] for line in map(json.loads, whole) if "loss" in line}


def _arrays(folder: pathlib.Path, step: int) -> list[np.ndarray]:
    """All that a checkpoint keeps: weights, statistics, moments, average."""
    import jax

    from boneage_jax.distributed.mesh import make_mesh, replicated
    from boneage_jax.runs import run_folder
    from boneage_jax.runs.checkpoint import Checkpoints

    loaded = run_folder.load(folder, step=step)
    _, like = run_folder.shapes_of(loaded.config)
    checkpoints = Checkpoints(folder / "checkpoints", read_only=True)
    try:
        state = checkpoints.restore(step, like, replicated(make_mesh(1)))
    finally:
        checkpoints.close()
    return [np.asarray(leaf) for leaf in jax.tree.leaves(jax.device_get(state))]


def train(context: Context) -> None:
    """Trains as long as there is time: a short run says how fast, a second one is as long as that allows."""
    from boneage_jax.analysis.scores import mae
    from boneage_jax.config import loading
    from boneage_jax.data.reading import view_of
    from boneage_jax.data.sources import Dataset
    from boneage_jax.runs import run_folder
    from boneage_jax.runs.inference import predict_ages
    from boneage_jax.train.loop import train as train_run

    def go(name: str, steps: int) -> tuple[pathlib.Path, float]:
        every = f"{steps} steps"
        settings = {"train__length": every, "eval__every": every, "checkpoint__every": every}
        config = loading.load(_arguments(context, **settings, log__every=f"{max(1, steps // 10)} steps"))
        start = time.perf_counter()
        train_run(config, context.scratch / name)
        return context.scratch / name, time.perf_counter() - start

    probe, seconds = go("probe", 40 if context.tiny else 300)
    rate = images_a_second(probe)
    context.add(what="first run", steps=40 if context.tiny else 300, seconds=seconds, **{"images/s": rate})
    batch = run_folder.load(probe).config.train.batch_size
    # As much again is kept for compiling, evaluating and saving, and for a rate that may fall.
    affordable = 0.8 * (context.left() - seconds - 5) * rate / batch
    steps = 40 if context.tiny else int(min(affordable, 100 * COUNTS["train"] / batch))
    if steps < 40:
        raise Wrong(f"no time left for a training: {context.left():.0f} s")
    folder, seconds = go("trained", steps)
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    waiting = median([line["waiting_for_data"] for line in lines if "waiting_for_data" in line])
    loaded = run_folder.load(folder)
    dataset = Dataset.open(context.scratch / "data", (context.scratch / "dataset").read_text())
    records = dataset.split("test", view_of(loaded.config.data))
    read, _ = records.labels()
    error = mae(predict_ages(loaded, records).months - read)
    constant = mae(np.full(len(read), np.mean(read)) - read)
    context.add(
        what="trained",
        steps=steps,
        seconds=seconds,
        **{"images/s": images_a_second(folder)},
        epochs=steps * batch / dataset.splits["train"],
        waiting_for_data=f"{100 * waiting:.1f}%",
        MAE_on_test_phantoms_in_months=f"{error.value:.2f} [{error.low:.2f}, {error.high:.2f}]",
        always_their_mean=constant.value,
    )


# ---- hands and phantoms ---------------------------------------------------------------------------------------------


def _radiographs(context: Context) -> list[np.ndarray]:
    """The radiographs of `data`."""
    path = context.scratch / _RADIOGRAPHS
    if not path.exists():
        raise Wrong("the radiographs of the section data are not there")
    return list(np.load(path))


def _assessor(context: Context, number: int | None = None) -> Any:
    """Opens the shipped networks for the radiographs of `data`, written as files, or for one of them."""
    from boneage_jax.data import images
    from boneage_jax.workflows.assess import Assessor, AssessRequest

    folder = context.scratch / "radiographs"
    folder.mkdir(exist_ok=True)
    for n, picture in enumerate(_radiographs(context)):
        (folder / f"{n:02d}.png").write_bytes(images.encode(picture, "png"))
    path = folder if number is None else folder / f"{number:02d}.png"
    return Assessor(AssessRequest((path,), sex="M", views=1 if context.tiny else 6))


def _read_ages(context: Context) -> tuple[list[float], float]:
    """Returns the ages of the radiographs, read by the shipped networks, and the seconds it takes once compiled."""
    with _assessor(context) as assessor:
        list(assessor.assess())
        start = time.perf_counter()
        ages = [assessment.months for assessment, _ in assessor.assess()]
        return ages, time.perf_counter() - start


def predict(context: Context) -> None:
    """What a user of `boneage assess` waits for, without the interpreter's own start; and whether it is right."""
    start = time.perf_counter()
    with _assessor(context, 0) as assessor:
        (first,) = [assessment.months for assessment, _ in assessor.assess()]
        context.add(what="first radiograph: imports, opening, compiling", seconds=time.perf_counter() - start)
        taken = []
        for _ in range(2 if context.tiny else 20):
            start = time.perf_counter()
            (again,) = [assessment.months for assessment, _ in assessor.assess()]
            taken.append(time.perf_counter() - start)
    context.add(
        what="the same again, median",
        seconds=median(taken),
        note=f"{1 / median(taken):.3g} a second; read {first:.4f} and {again:.4f} months",
    )
    ages, seconds = _read_ages(context)
    context.add(what=f"{len(ages)} radiographs", seconds=seconds, note=f"{len(ages) / seconds:.3g} a second")
    stored = context.scratch / _READINGS
    if not stored.exists():
        context.add(what="against this machine's processor", note="there was no time to read them there")
        return
    there = np.array(json.loads(stored.read_text()))
    apart = np.abs(np.array(ages) - there)
    hands = int(np.isfinite(there).sum())
    note = f"largest difference {np.nanmax(apart, initial=0.0):.3f} months over {hands} hands"
    context.add(what="against this machine's processor", note=note)
    if not hands or not (np.isfinite(ages) == np.isfinite(there)).all() or np.nanmax(apart) > APART:
        raise Wrong(
            f"the ages are others than this machine's processor reads: {np.round(ages, 1)}, {np.round(there, 1)}"
        )


def hand(context: Context) -> None:
    """Images a second of the pipeline: masks, key points, registration, all regions of the paper."""
    import cv2

    from boneage_jax import resources
    from boneage_jax.hand.pipeline import Settings
    from boneage_jax.hand.regions import named
    from boneage_jax.workflows.hand_networks import open_pipeline

    pictures = _radiographs(context)
    batch, rounds = len(pictures), 1 if context.tiny else 4
    threads = min(16, len(os.sched_getaffinity(0)))
    views = 1 if context.tiny else 6
    settings = Settings(tuple(named(["A", "B", "C"])), batch_size=batch, views=views, threads=threads)
    shipped = resources.shipped_bundle()
    with open_pipeline(shipped, shipped, settings) as pipeline:
        start = time.perf_counter()
        found = pipeline.register(pictures)
        compiling = time.perf_counter() - start
        hands = sum(one.registration is not None for one in found)
        if not hands:
            raise Wrong("no hand was found in any of the radiographs")
        for size in (RADIOGRAPH, (2044, 1514)):
            shown = [cv2.resize(one, size[::-1], interpolation=cv2.INTER_CUBIC) for one in pictures]
            pipeline.register(shown)
            pipeline.seconds.clear()
            taken = []
            for _ in range(rounds):
                start = time.perf_counter()
                pipeline.register(shown)
                taken.append(time.perf_counter() - start)
            stages = ", ".join(f"{name} {100 * part / sum(taken):.0f}%" for name, part in pipeline.seconds.items())
            context.add(
                size=f"{size[0]} x {size[1]}", batch=batch, **{"images/s": batch / median(taken)}, threads=threads,
                views=views, hands_found=f"{hands} of {batch}", first_batch_in_seconds=compiling, stages=stages,
            )  # fmt: skip


def phantoms(context: Context) -> None:
    """Phantoms a second, each view, image and all truth."""
    from benchmarks import common, phantom_speed

    size, batch = ((128, 96), 2) if context.tiny else ((520, 400), 256)
    for name in ("plain", "raw", "registered"):
        measure = phantom_speed.rate(name, size, batch, 4 * batch)
        rates = common.measure_alternately(1 if context.tiny else 5, {name: measure})[name]
        context.add(view=name, size=f"{size[0]} x {size[1]}", batch=batch, **{"phantoms/s": median(rates)})


MEASURES: dict[str, Callable[[Context], None]] = {
    "devices": devices,
    "m46": m46,
    "resnet50": resnet50,
    "data": data,
    "resume": resume,
    "predict": predict,
    "hand": hand,
    "phantoms": phantoms,
    "largest": largest,
    "train": train,
}


if __name__ == "__main__":
    sys.exit(main())
