"""What `boneage export` does: writes one trained network so that it runs without this package.

The weights lie inside the program. Its inputs and outputs are those of the network itself: what comes before, from a
radiograph to the network's input, and after, as the mean of several networks, stays with this package.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import export as jax_export
from jax.sharding import AxisType
from jaxtyping import Array, Float32, UInt8

from boneage_jax import NOT_A_MEDICAL_DEVICE, anatomy
from boneage_jax.distributed.mesh import replicated
from boneage_jax.errors import UserError, missing_extra, reason
from boneage_jax.files import check_writable, replacing
from boneage_jax.hand.age_ensemble import AgeEnsemble, trained_on_phantoms
from boneage_jax.hand.network import Network
from boneage_jax.network_ref import NetworkRef
from boneage_jax.runs import bundle
from boneage_jax.runs.checkpoint import versions
from boneage_jax.runs.inference import constant_spread
from boneage_jax.runs.run_folder import LoadedRun, digest, shapes_of
from boneage_jax.schema import INPUT_LAYOUTS
from boneage_jax.workflows.assessment import PHANTOMS_ONLY
from boneage_jax.workflows.hand_networks import terms_of
from boneage_jax.workflows.requests import ExportRequest

ABOUT, PROGRAM, READER, ONNX = "network.json", "network.stablehlo", "read.py", "network.onnx"
"""Files of an exported network."""

FORMAT = "boneage-jax network 1"

ANY = "b"
"""Stands in shapes for a batch of any size."""

TOLERANCE = {"float32": 1e-2, "bfloat16": 1.0}
"""Months, pixels or probability that a program may differ by from this package's own prediction, by the type of
computation; else it is not written. Chosen by eye: far above what rounding does to ages."""

_TRIED = 2
"""Images that a program of any batch size is tried on."""

Program = Callable[..., tuple[Any, ...]]
"""From images and sexes to the outputs that `_outputs` describes."""


@dataclasses.dataclass(frozen=True)
class Port:
    """An input or output of an exported network.

    Attributes:
      name: of it.
      shape: sizes; `ANY` for a batch of any size.
      dtype: as NumPy names it.
      unit: of its numbers.
      meaning: for people.
    """

    name: str
    shape: tuple[int | str, ...]
    dtype: str
    unit: str
    meaning: str

    def __str__(self) -> str:
        return f"{self.name} {self.dtype} ({', '.join(map(str, self.shape))}), {self.unit}"


def make(request: ExportRequest) -> str:
    """Writes a network's files, all or none; returns what they are, for people.

    Raises:
      UserError: for what is no network, a folder that holds something else or cannot be written, an extra that is not
        installed, and networks that ONNX cannot express.
    """
    _check_folder(request.out)
    ref = NetworkRef.of(request.network)
    loaded = bundle.load(ref, "")
    check_writable(request.out if request.out.is_dir() else request.out.absolute().parent)
    inputs, outputs = ports(loaded, request.batch_size)
    about = {
        "format": FORMAT,
        "network": str(ref) if ref.path is None else str(dataclasses.replace(ref, path=pathlib.Path(ref.place.name))),
        **described(loaded),
        "inputs": [dataclasses.asdict(port) for port in inputs],
        "outputs": [dataclasses.asdict(port) for port in outputs],
        "platforms": request.platforms,
        "versions": {"trained": loaded.about.get("versions", {}), "exported": versions()},
    }
    files = {
        # The first is the last to get its name: who finds it finds the others.
        ABOUT: (json.dumps(about, indent=2) + "\n").encode(),
        PROGRAM: stablehlo(loaded, inputs, request.platforms),
        READER: pathlib.Path(__file__).with_name("exported_reader.py").read_bytes(),
    }
    programs: dict[str, Program] = {}
    if "cpu" in request.platforms:
        programs[PROGRAM] = jax.jit(jax_export.deserialize(bytearray(files[PROGRAM])).call)
    if request.onnx:
        notes = {"fingerprint": about["fingerprint"], "terms": " ".join(about["terms"]), "notice": about["notice"]}
        files[ONNX], programs[ONNX] = onnx(loaded, inputs, outputs, notes)
    differences = _differences(loaded, programs, request.batch_size or _TRIED)
    allowed = TOLERANCE[loaded.config.model.dtype]
    for name, difference in differences.items():
        if not difference <= allowed:
            raise UserError(
                f"{request.out / name}: not written: found predictions that differ from this package's by "
                f"{difference:.2g}, expected {allowed:g} at most"
            )
    _write(files, request.out)
    if not request.onnx:
        (request.out / ONNX).unlink(missing_ok=True)  # of another network that was exported here before
    return _as_text(request, files, inputs, outputs, differences, [*about["terms"], about["notice"]])


def _as_text(
    request: ExportRequest,
    files: Mapping[str, bytes],
    inputs: Sequence[Port],
    outputs: Sequence[Port],
    differences: Mapping[str, float],
    remarks: Sequence[str],
) -> str:
    lines = [f"{request.out}: for {', '.join(request.platforms)}"]
    for name, content in files.items():
        found = f", differs by {differences[name]:.1g} at most from this package" if name in differences else ""
        lines.append(f"  {name:<18}{len(content) / 1e6:6.2f} MB{found}")
    if PROGRAM not in differences:
        lines.append(f"  {PROGRAM} was not tried: only programs for the CPU are")
    lines += [f"takes {port}" for port in inputs] + [f"gives {port}" for port in outputs]
    return "\n".join([*lines, *remarks])


def _check_folder(out: pathlib.Path) -> None:
    """Raises `UserError` for a file, and for a folder that holds something else than an exported network."""
    if out.exists() and not out.is_dir():
        raise UserError(f"{out}: found a file, expected a folder to write; choose another with --out")
    if out.is_dir() and not (out / ABOUT).is_file() and any(out.iterdir()):
        raise UserError(
            f"{out}: found a folder that holds something else than an exported network, expected an empty one; choose "
            "another with --out"
        )


def _write(files: Mapping[str, bytes], folder: pathlib.Path) -> None:
    """Writes files whole, all or none, the first of them last. Raises `UserError` as `replacing` does."""
    with contextlib.ExitStack() as stack:
        for name, content in files.items():
            stack.enter_context(replacing(folder / name)).write_bytes(content)


def described(loaded: LoadedRun) -> dict[str, Any]:
    """Returns what a network is and how its images are made, as JSON has it.

    Raises:
      UserError: for an age network whose regions have no known place on the canvas.
    """
    config = loaded.config
    ages = AgeEnsemble([loaded]) if loaded.task.needs_age else None
    # A network that takes several features sees each of them, or the regions of each.
    names = [
        name
        for feature in config.data.feature.split("+")
        for name in (config.data.regions.split("+") if config.data.regions else [feature.removeprefix("region_")])
    ]
    regions = [
        {"name": name, "rows": region.rows, "columns": region.columns}
        for name, region in zip(names, ages.regions if ages else (), strict=False)
    ]
    return {
        "task": config.task.name,
        "architecture": config.model.name,
        "step": loaded.step,
        "chosen": loaded.chosen,
        "fingerprint": digest(loaded),
        "sex": config.data.sex,
        "canvas": dataclasses.asdict(ages.canvas) if ages and ages.regions else None,
        "regions": regions,
        "input_layouts": {} if regions else {layout: INPUT_LAYOUTS[layout] for layout in config.data.input_layouts},
        "contrast": config.data.contrast,
        "terms": terms_of([loaded]),
        "notice": (
            f"{PHANTOMS_ONLY} {NOT_A_MEDICAL_DEVICE}" if ages and trained_on_phantoms(loaded) else NOT_A_MEDICAL_DEVICE
        ),
    }


def ports(loaded: LoadedRun, batch_size: int | None) -> tuple[list[Port], list[Port]]:
    """Returns a network's inputs and outputs.

    Args:
      loaded: the network.
      batch_size: images at once; None for any number.
    """
    config = loaded.config
    size = (config.data.height, config.data.width)
    b: int | str = ANY if batch_size is None else batch_size
    regions = (config.data.pictures,) if config.data.pictures > 1 else ()
    seen = "0 black to 255 white; a registered hand cut to `regions`; where these are empty, as `input_layouts` says"
    of_regions = "; the last axis is that of `regions`" if regions else ""
    trained = "" if config.data.sex == "all" else f"; the network was trained on {config.data.sex} children only"
    told = "the child's sex: 1 male, 0 female" if config.model.sex != "none" else "not read by this network"
    told = told if loaded.task.needs_age else "not read by this network"
    inputs = [
        Port("images", (b, *size, *regions), "uint8", "grey levels", seen + of_regions),
        Port("male", (b,), "float32", "1 or 0", told + trained),
    ]
    if config.task.name == "segmentation":
        return inputs, [
            Port("probability", (b, *size), "float32", "probability", "that a pixel of the input shows the hand")
        ]
    if config.task.name == "landmarks":
        points = ", ".join(anatomy.KEY_POINTS)
        found = config.task.points == "heatmap"
        spread = "standard deviation about each point" if found else "0: not known"
        return inputs, [
            Port("points", (b, 3, 2), "float32", "pixels of the input", f"x, y of {points}; 0, 0 is the first pixel"),
            Port("spread", (b, 3), "float32", "pixels of the input", spread),
        ]
    spread = "standard deviation of the bone age"
    if config.task.age == "regression":
        spread += ": the same for all, the evaluation's mean absolute error times the root of two; NaN without one"
    return inputs, [
        Port("months", (b,), "float32", "months", "bone age"),
        Port("spread", (b,), "float32", "months", spread),
    ]


def function_of(loaded: LoadedRun, kernels: Literal["plain", "cpu"]) -> Program:
    """Returns a network with its weights as a function of images and sexes, for JAX to trace.

    Args:
      loaded: the network.
      kernels: form of convolutions and pooling, `plain` or `cpu`: see `models.ops`.
    """
    config = dataclasses.replace(loaded.config, model=dataclasses.replace(loaded.config.model, kernels=kernels))
    network, _ = shapes_of(config)
    # On one device, whatever number the network lies on: a program keeps the number that it was traced with.
    arrays = jax.tree.map(jnp.asarray, jax.device_get(loaded.arrays))

    def predict(images: UInt8[Array, "b h w *p"], male: Float32[Array, " b"]) -> tuple[Array, ...]:
        seen = loaded.task.model_input(images.astype(jnp.float32) / 255.0)
        outputs, _ = network.apply(arrays["params"], arrays["batch_stats"], seen, male)
        return _outputs(loaded, loaded.task.prediction(outputs, (config.data.height, config.data.width)))

    return predict


def _outputs(loaded: LoadedRun, predicted: Array) -> tuple[Array, ...]:
    """A task's predictions as the outputs that `ports` describes."""
    if loaded.config.task.name == "segmentation":
        return (predicted,)
    if loaded.config.task.name == "landmarks":
        return predicted[..., :2], predicted[..., 2]
    months, spread = predicted[:, 0], predicted[:, 1]
    if loaded.config.task.age == "regression":
        spread = jnp.full_like(months, constant_spread(loaded))
    return months, spread


def _shapes(inputs: Sequence[Port]) -> list[jax.ShapeDtypeStruct]:
    """The inputs' shapes and types, of one and the same batch."""
    (any_size,) = jax_export.symbolic_shape(ANY)
    return [
        jax.ShapeDtypeStruct([any_size if size == ANY else size for size in port.shape], jnp.dtype(port.dtype))
        for port in inputs
    ]


def stablehlo(loaded: LoadedRun, inputs: Sequence[Port], platforms: Sequence[str]) -> bytes:
    """Returns a network as `jax.export` serialises it.

    Args:
      loaded: the network.
      inputs: see `ports`.
      platforms: that it is lowered for; they need not be there.
    """
    # On CPUs alone the form that is faster there.
    predict = function_of(loaded, "cpu" if tuple(platforms) == ("cpu",) else "plain")
    # Inputs that a network does not read stay too, so that all programs are called alike.
    jitted = jax.jit(predict, keep_unused=True)
    return bytes(jax_export.export(jitted, platforms=platforms)(*_shapes(inputs)).serialize())


def onnx(
    loaded: LoadedRun, inputs: Sequence[Port], outputs: Sequence[Port], notes: Mapping[str, str]
) -> tuple[bytes, Program]:
    """Returns a network in the ONNX format, and as ONNX Runtime carries it out.

    Args:
      loaded: the network.
      inputs: see `ports`.
      outputs: likewise.
      notes: that the file holds beside it, by name.

    Raises:
      UserError: without the extra `onnx`, and for networks that jax2onnx or ONNX Runtime does not take.
    """
    with _quiet():
        try:
            import jax2onnx
            import onnxruntime
        except ImportError as error:
            raise missing_extra("jax2onnx", "onnx", "--onnx") from error
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # failures are raised; shapes that jax2onnx notes wrongly are found anew
        try:
            # jax2onnx gives `lax.reduce_window` more axes than ONNX Runtime pools over, so that pooling must be by
            # slices, as `cpu` has it. It does not take the loop of a depthwise convolution: convnext does not pool.
            model = jax2onnx.to_onnx(
                function_of(loaded, "plain" if loaded.config.model.name == "convnext" else "cpu"),
                _shapes(inputs),
                model_name=loaded.config.task.name,
                input_names=[port.name for port in inputs],
                output_names=[port.name for port in outputs],
            )
            for name, note in notes.items():
                model.metadata_props.add(key=name, value=note)
            content: bytes = model.SerializeToString()
            session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise UserError(
                f"{loaded.folder}: this network cannot become ONNX ({reason(error)}); leave out --onnx"
            ) from error
    return content, lambda images, male: tuple(session.run(None, {"images": images, "male": male}))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hides warnings in the log: jax2onnx tells of plugins for other libraries, and of all batch norms."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def _differences(loaded: LoadedRun, programs: Mapping[str, Program], count: int) -> dict[str, float]:
    """The largest difference between each program's outputs and this package's own, for so many images of noise.

    Both are carried out on the CPU, for other devices round products of float32 in ways of their own. Without a CPU
    that JAX may use there are none.
    """
    config, rng = loaded.config.data, np.random.default_rng(0)
    try:
        cpu = jax.local_devices(backend="cpu")[0]
    except RuntimeError:  # JAX_PLATFORMS names others only
        return {}
    mesh = jax.make_mesh((1,), ("data",), axis_types=(AxisType.Auto,), devices=[cpu])
    here = dataclasses.replace(
        loaded, mesh=mesh, arrays=jax.device_put(jax.device_get(loaded.arrays), replicated(mesh))
    )
    regions = (config.pictures,) if config.pictures > 1 else ()
    images = rng.integers(0, 256, (count, config.height, config.width, *regions), np.uint8)
    male = (np.arange(count) % 2).astype(np.float32)
    with jax.default_device(cpu):
        own = _outputs(loaded, jnp.asarray(Network(here, count).predict(images, male)))
        return {name: _largest(program(images, male), own) for name, program in programs.items()}


def _largest(found: Sequence[Any], expected: Sequence[Any]) -> float:
    """The largest difference of any output; what is not known, NaN, is the same on both sides."""
    pairs = [(np.nan_to_num(a, nan=-1), np.nan_to_num(b, nan=-1)) for a, b in zip(found, expected, strict=True)]
    return float(max(np.abs(a - b).max() for a, b in pairs))
