"""Phantoms a second: on one core of the processor one by one, on an accelerator in batches.

    python -m benchmarks.phantom_speed
    python -m benchmarks.phantom_speed --batch 256        on an accelerator

Goals at 520 x 400: 25 a second and core, 2,000 a second on an H200.
"""

from __future__ import annotations

import argparse
import pathlib
import time
from collections.abc import Callable

from benchmarks import common


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", nargs=2, type=int, default=(520, 400), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument(
        "--count", type=int, default=0, help="phantoms in a round (default: 100, on an accelerator 10 batches)"
    )
    parser.add_argument("--batch", type=int, default=0, help="phantoms at once (default: 1, on an accelerator 256)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=pathlib.Path, help="file for the results")
    options = parser.parse_args()
    import jax

    accelerator = jax.default_backend() != "cpu"
    if not accelerator:
        # XLA starts its threads with the first computation: this must come before.
        common.use_one_core()
    batch = options.batch or (256 if accelerator else 1)
    count = options.count or (10 * batch if accelerator else 100)
    device = jax.devices()[0].device_kind if accelerator else common.hardware()
    print(f"{device}; {common.versions('jax', 'jaxlib')}; {options.size[0]} x {options.size[1]}, {batch} at once")
    results = {}
    rates = common.measure_alternately(
        options.rounds, {name: rate(name, options.size, batch, count) for name in ("plain", "raw", "registered")}
    )
    for name, values in rates.items():
        results[name] = common.median(values)
        print(f"{name:<12}{results[name]:>9.1f} a second (median of {options.rounds} rounds of {count})")
    common.save(options.json, {"device": device, "batch": batch, "phantoms_a_second": results})


def rate(name: str, size: tuple[int, int], batch: int, count: int) -> Callable[[], float]:
    """Returns a measurement of one view: image and all truth, ages from 0 to 240."""
    import jax
    import jax.numpy as jnp

    from boneage_jax.phantoms import views
    from boneage_jax.phantoms.maturity import Variation
    from boneage_jax.phantoms.render import render

    chosen = views.view(name)
    camera = chosen.sized(*size)

    def one(key: jax.Array) -> object:
        age = jax.random.uniform(jax.random.fold_in(key, 1), (), maxval=240.0)
        male = jax.random.bernoulli(jax.random.fold_in(key, 2)).astype(jnp.float32)
        return render(key, age, male, camera, Variation(), chosen.exposure)

    draw = jax.jit(jax.vmap(one)) if batch > 1 else jax.jit(lambda keys: one(keys[0]))
    jax.block_until_ready(draw(jax.random.split(jax.random.key(0), batch)))

    def measure() -> float:
        keys = [jax.random.split(jax.random.key(n), batch) for n in range(count // batch)]
        jax.block_until_ready(keys)
        start = time.perf_counter()
        for batch_keys in keys:
            drawn = draw(batch_keys)
        jax.block_until_ready(drawn)
        return len(keys) * batch / (time.perf_counter() - start)

    return measure


if __name__ == "__main__":
    main()
