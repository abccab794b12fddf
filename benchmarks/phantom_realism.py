"""Holds the phantom's geometry and grey levels against real radiographs.

    python -m benchmarks.phantom_realism --boxes koitka_rois --table train.csv [--registered hand.png:129:F]

Geometry: sizes and places of the ossification areas of 327 real hands (Koitka et al. 2018) against phantoms of the same
ages and sexes, all aligned and measured against the hand's own size. Sizes are compared with the 238 hands of the
training reader alone, because the evaluation's expert draws boxes half as high; the phantoms' boxes get the scatter of
a human reader, estimated from two readers of the same 89 images. For each quantity: the two-sample Kolmogorov-Smirnov
distance (goal: at most 0.2) and the shared part of the central 90% intervals (length of the overlap over that of the
longer one). The layout was fitted to these places, so they are compared once more on every second hand with a layout
fitted to the others. Grey levels: real hands against phantoms of the same age and sex, masked and registered ones with
`--registered`, radiographs as acquired with `--raw`, each given as PATH:AGE:SEX. In the latter, the corners count as
background.
"""

from __future__ import annotations

import argparse
import itertools
import pathlib
import tempfile
from typing import Any

import cv2
import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from benchmarks import common, koitka, phantom_layout
from boneage_jax import anatomy
from boneage_jax.data import images
from boneage_jax.phantoms import export, layout, views
from boneage_jax.phantoms.camera import Camera
from boneage_jax.phantoms.render import render

BANDS = ((0, 48), (48, 108), (108, 144), (144, 240))
"""Ages in months that are compared separately too."""

GOAL = 0.2
"""Largest Kolmogorov-Smirnov distance that is accepted; a choice."""


def quantities(boxes: np.ndarray) -> dict[str, np.ndarray]:
    """Returns ratios that describe hands, each of shape (n,).

    Sizes are over the hand's size (from the wrist's middle to the middle finger's knuckle), places are
    relative to the middle finger's knuckle;
    spreads are angles in degrees.
    """
    points, zoom = koitka.align(koitka.centres(boxes))
    name = {area: n for n, area in enumerate(anatomy.OSSIFICATION_AREAS)}
    size = np.linalg.norm(points[:, name["MCP 3"]] - points[:, name["Wrist"]], axis=1)
    extent = (boxes[..., 2:] - boxes[..., :2]) * zoom[:, None, None] / size[:, None, None]
    found: dict[str, np.ndarray] = {}
    for joint in ("DIP", "PIP", "MCP"):
        rows = [n for area, n in name.items() if area.startswith(joint)]
        found[f"{joint} width"] = extent[:, rows, 0].mean(1)
        found[f"{joint} height"] = extent[:, rows, 1].mean(1)
    for area in ("Radius", "Ulna", "Wrist"):
        found[f"{area} width"], found[f"{area} height"] = extent[:, name[area]].T

    def length(a: str, b: str) -> np.ndarray:
        return np.linalg.norm(points[:, name[a]] - points[:, name[b]], axis=1) / size

    def angle(a: str, b: str) -> np.ndarray:
        along = points[:, name[b]] - points[:, name[a]]
        return np.degrees(np.arctan2(along[:, 0], -along[:, 1]))

    found["PIP 3 from MCP 3"] = length("PIP 3", "MCP 3")
    found["DIP 3 from PIP 3"] = length("DIP 3", "PIP 3")
    found["PIP 1 from MCP 1"] = length("PIP 1", "MCP 1")
    found["PIP 5 from MCP 5"] = length("PIP 5", "MCP 5")
    found["MCP 2 from MCP 5"] = length("MCP 2", "MCP 5")
    found["MCP 1 from MCP 2"] = length("MCP 1", "MCP 2")
    found["Radius from Wrist"] = length("Radius", "Wrist")
    found["Ulna from Wrist"] = length("Ulna", "Wrist")
    found["Radius from Ulna"] = length("Radius", "Ulna")
    found["spread of digits 2, 5"] = angle("MCP 2", "PIP 2") - angle("MCP 5", "PIP 5")
    found["spread of digits 1, 2"] = angle("MCP 1", "PIP 1") - angle("MCP 2", "PIP 2")
    for area in ("DIP 3", "MCP 1", "MCP 5", "Radius", "Ulna", "Wrist"):
        found[f"{area} x"], found[f"{area} y"] = (points[:, name[area]] - koitka.TEMPLATE[2]).T / size
    return found


def compare(real: np.ndarray, drawn: np.ndarray) -> tuple[float, float]:
    """Returns the Kolmogorov-Smirnov distance, and the shared part of the central 90% intervals."""
    a, b = np.percentile(real, [5, 95]), np.percentile(drawn, [5, 95])
    shared = max(0.0, min(a[1], b[1]) - max(a[0], b[0])) / max(a[1] - a[0], b[1] - b[0])
    return float(stats.ks_2samp(real, drawn).statistic), float(shared)


def draw_boxes(hands: koitka.Hands, repeats: int, seed: int) -> np.ndarray:
    """Returns the boxes of phantoms of the same ages and sexes, `repeats` for each hand, in tilted poses."""
    camera = Camera(height=256, width=192, rotation=12.0)
    draw = jax.jit(jax.vmap(lambda key, age, male: render(key, age, male, camera).areas))
    keys = jax.random.split(jax.random.key(seed), repeats)
    ages, males = jnp.asarray(hands.ages, jnp.float32), jnp.asarray(hands.males, jnp.float32)
    return np.concatenate([np.asarray(draw(jax.random.split(key, len(ages)), ages, males)) for key in keys])


def geometry(hands: koitka.Hands, scatter: float, repeats: int) -> list[dict[str, Any]]:
    """Prints and returns one row a quantity."""
    boxes = draw_boxes(hands, repeats, 7)
    strays = np.exp(scatter * np.random.default_rng(7).normal(size=(*boxes.shape[:2], 2)))
    half = (boxes[..., 2:] - boxes[..., :2]) / 2 * strays
    boxes = np.concatenate([koitka.centres(boxes) - half, koitka.centres(boxes) + half], -1)
    real, drawn = quantities(hands.boxes), quantities(boxes)
    ages = np.tile(hands.ages, repeats)
    heads = "".join(f"{f'{low}-{high}':>9}" for low, high in BANDS)
    print(f"{'quantity':<24}{'real':>8}{'phantom':>9}{'KS':>7}{'shared':>8}  KS at months{heads}")
    rows: list[dict[str, Any]] = []
    for quantity, values in real.items():
        sized = quantity.endswith(("width", "height"))
        by_one = hands.by_training_reader
        ours, theirs = (by_one, np.tile(by_one, repeats)) if sized else (hands.ages >= 0, ages >= 0)
        ks, shared = compare(values[ours], drawn[quantity][theirs])
        bands = [
            compare(values[ours & _within(hands.ages, band)], drawn[quantity][theirs & _within(ages, band)])[0]
            for band in BANDS
        ]
        miss = "  misses" if ks > GOAL else ""
        print(
            f"{quantity:<24}{np.median(values[ours]):>8.3f}{np.median(drawn[quantity][theirs]):>9.3f}{ks:>7.2f}{shared:>8.0%}"
            f"{'':14}{''.join(f'{value:>9.2f}' for value in bands)}{miss}"
        )
        rows.append({"quantity": quantity, "ks": ks, "shared": shared, "bands": bands})
    counts = [int(_within(hands.ages, band).sum()) for band in BANDS]
    print(
        f"real hands by band: {counts}; by chance alone two samples of n and {repeats} n differ by about 1.3 / sqrt(n)"
    )
    print(f"{sum(float(row['ks']) <= GOAL for row in rows)} of {len(rows)} quantities within {GOAL}")
    return rows


def _within(ages: np.ndarray, band: tuple[int, int]) -> np.ndarray:
    return (ages >= band[0]) & (ages < band[1])


def held_out(hands: koitka.Hands, repeats: int) -> dict[str, float]:
    """Fits the layout to every second hand; prints and returns the distances of places on the others."""
    seen = np.arange(len(hands.ages)) % 2 == 0
    shipped = layout.ASSET
    with tempfile.TemporaryDirectory() as folder:
        layout.ASSET = pathlib.Path(folder) / "layout.json"
        phantom_layout.write(hands.chosen(seen), layout.ASSET)
        layout.fitted.cache_clear()
        jax.clear_caches()
        others = hands.chosen(~seen)
        drawn = quantities(draw_boxes(others, repeats, 7))
    layout.ASSET = shipped
    layout.fitted.cache_clear()
    jax.clear_caches()
    real = quantities(others.boxes)
    found = {name: compare(real[name], drawn[name])[0] for name in real if not name.endswith(("width", "height"))}
    worst = max(found, key=lambda name: found[name])
    print(f"\nplaces of {len(others.ages)} hands that the layout was not fitted to: ", end="")
    print(f"KS median {np.median(list(found.values())):.2f}, largest {found[worst]:.2f} ({worst})")
    return found


def grey_levels(grey: np.ndarray, mask: np.ndarray) -> dict[str, float]:
    """Returns measures of the grey levels (0 to 255) within a mask: histogram, edge strength, power by octave."""
    grey = grey.astype(np.float64)
    inner = cv2.erode(mask.astype(np.uint8), np.ones((9, 9), np.uint8), borderValue=1) > 0
    slope = np.hypot(cv2.Sobel(grey, cv2.CV_64F, 1, 0), cv2.Sobel(grey, cv2.CV_64F, 0, 1)) / 8
    found = {f"grey p{p}": float(np.percentile(grey[mask], p)) for p in (1, 25, 50, 75, 99)}
    found["edge median"] = float(np.median(slope[inner]))
    found["edge p95"] = float(np.percentile(slope[inner], 95))
    # From single pixels to structures as wide as a bone.
    blurred = [grey]
    for sigma in (1, 2, 4, 8, 16):
        weight = np.maximum(cv2.GaussianBlur(mask.astype(np.float64), (0, 0), sigma), 1e-3)
        blurred.append(cv2.GaussianBlur(grey * mask, (0, 0), sigma) / weight)
    for n, (fine, coarse) in enumerate(itertools.pairwise(blurred)):
        found[f"octave {2**n} px"] = float(np.std((fine - coarse)[inner]))
    return found


def measures(grey: np.ndarray, registered: bool) -> dict[str, float]:
    """Returns `grey_levels` of the hand in a registered image, or of the whole and the corners of one as acquired."""
    if registered:
        hand = cv2.morphologyEx((grey > 3).astype(np.uint8), cv2.MORPH_CLOSE, np.ones((9, 9), np.uint8)) > 0
        return grey_levels(grey, hand)
    corners = np.zeros(grey.shape, bool)
    height, width = (side // 6 for side in grey.shape)
    for rows in (slice(None, height), slice(-height, None)):
        for columns in (slice(None, width), slice(-width, None)):
            corners[rows, columns] = True
    whole, beyond = grey_levels(grey, np.ones(grey.shape, bool)), grey_levels(grey, corners)
    return {f"{place} {name}": x for place, levels in (("all", whole), ("back", beyond)) for name, x in levels.items()}


def compare_images(items: list[str], name: str, repeats: int) -> list[dict[str, Any]]:
    """Prints the grey levels of real images beside the range of phantoms' in a view; returns them."""
    rows = []
    chosen, registered = views.view(name), name == "registered"
    for item in items:
        path, age, sex = item.rsplit(":", 2)
        real = images.read(pathlib.Path(path))
        height = min(real.shape[0], 1040)
        size = height, round(real.shape[1] * height / real.shape[0])
        real = cv2.resize(real, size[::-1], interpolation=cv2.INTER_AREA)
        camera, male = chosen.sized(*size), jnp.float32(anatomy.is_male(sex))
        drawn = []
        for seed in range(repeats):
            key = jax.random.fold_in(jax.random.key(3), seed)
            phantom = render(key, jnp.float32(age), male, camera, exposure=chosen.exposure)
            drawn.append(measures(export.grey(phantom), registered))
        print(f"\n{pathlib.Path(path).name}, {age} months, {sex}, {name}: real; 5th to 95th of {repeats} phantoms")
        measured, outside = measures(real, registered), 0
        for quantity, value in measured.items():
            low, middle, high = np.percentile([d[quantity] for d in drawn], [5, 50, 95])
            outside += not low <= value <= high
            remark = "" if low <= value <= high else "  outside"
            print(f"  {quantity:<18}{value:>8.1f}   {low:>7.1f} to {high:<7.1f} median {middle:.1f}{remark}")
            rows.append({"image": pathlib.Path(path).name, "quantity": quantity, "real": value, "phantom": [low, high]})
        print(f"  {len(measured) - outside} of {len(measured)} within")
    return rows


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--boxes", type=pathlib.Path, required=True, help="folder of Koitka's annotations")
    parser.add_argument("--table", type=pathlib.Path, required=True, help="train.csv of RSNA")
    parser.add_argument("--registered", nargs="*", default=[], metavar="PATH:AGE:SEX", help="masked, registered hands")
    parser.add_argument("--raw", nargs="*", default=[], metavar="PATH:AGE:SEX", help="radiographs as acquired")
    parser.add_argument("--repeats", type=int, default=8, help="phantoms for each real hand")
    parser.add_argument("--json", type=pathlib.Path, help="file for the results")
    options = parser.parse_args()
    print(common.versions("jax", "numpy", "scipy"))
    hands = koitka.read(options.boxes, options.table)
    results = {
        "geometry": geometry(hands, koitka.reader_scatter(options.boxes), options.repeats),
        "held out": held_out(hands, options.repeats),
        "registered": compare_images(options.registered, "registered", options.repeats * 5),
        "raw": compare_images(options.raw, "raw", options.repeats * 5),
    }
    common.save(options.json, results)


if __name__ == "__main__":
    main()
