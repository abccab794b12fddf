"""Disturbs commands and starts them again: `python -m tests.faults`, or `make faults`.

After each fault the same command must come to the undisturbed result, with no finished work done again beyond the
grain that its scenario states, and nothing half-written left; or it must say what to mend and come to it after that.
Exit status 0 where nothing was lost. A table at the end; all of it as JSON in `--out`.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import pathlib
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence

from tests.faults import campaign, execute
from tests.faults.campaign import LOST, SKIPPED, Campaign, Fault, Outcome
from tests.faults.scenarios import SCENARIOS, Scenario

DISTURBED = tuple(scenario for scenario in SCENARIOS if scenario.name != "radiographs")
"""The others' input is no command of its own."""


def import_all() -> None:
    """Imports what the commands import, most of a small command's time; JAX is not started."""
    import importlib

    for name in (
        *("cli", "api.phantoms", "workflows.build", "workflows.derive", "workflows.mining", "workflows.assess_command"),
        *("paper.results", "paper.page", "importance.study", "importance.page", "train.loop", "sweeps.commands"),
    ):
        importlib.import_module(f"boneage_jax.{name}")
    for name in ("flax.nnx", "grain", "optax", "optuna", "orbax.checkpoint", "tensorflow_datasets"):
        importlib.import_module(name)


def short() -> Iterator[tuple[Scenario, Fault]]:
    """Yields a few faults that are quick to take: those of CI."""
    by_name = {scenario.name: scenario for scenario in DISTURBED}
    yield by_name["data build"], campaign.killed_while_writing(1)
    yield by_name["train"], campaign.killed(2)
    yield by_name["train"], campaign.damaged("out/metrics.jsonl", "flipped", interrupted=True)


def long(kills: int) -> Iterator[tuple[Scenario, Fault]]:
    """Yields all faults of all scenarios; `kills` at random moments, dealt to the scenarios."""
    for n, scenario in enumerate(DISTURBED):
        share = kills // len(DISTURBED) + (n < kills % len(DISTURBED))
        yield from ((scenario, fault) for fault in campaign.faults_of(scenario, share))


def table(outcomes: Sequence[Outcome]) -> str:
    """Returns the outcomes for people: a line a command and fault, and the sums."""
    lines = ["| command | fault | struck | result | note |", "| --- | --- | --- | --- | --- |"]
    for one in outcomes:
        note = one.note.replace("|", "/").replace("\n", " ")[:160]
        lines.append(f"| {one.scenario} | {one.fault} | {one.faults} | {one.verdict} | {note} |")
    count = {verdict: sum(one.verdict == verdict for one in outcomes) for verdict in ("survived", "refused", LOST)}
    struck = sum(one.faults for one in outcomes)
    return "\n".join(
        [
            *lines,
            f"faults: {struck} tried; {count['survived']} cases survived, {count['refused']} refused with a message "
            f"and survived once mended, {count[LOST]} lost, {sum(one.verdict == SKIPPED for one in outcomes)} skipped",
        ]
    )


def main() -> int:
    """Runs the campaign, or what `--only` names of it; returns 0 where nothing was lost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="a few faults, for CI")
    parser.add_argument("--kills", type=int, default=50, help="at random moments, over all commands (default: 50)")
    parser.add_argument("--seed", type=int, default=21, help="of moments and places (default: 21)")
    parser.add_argument("--only", action="append", default=[], help="cases whose COMMAND: FAULT holds this text")
    parser.add_argument("--list", action="store_true", help="name the cases and end")
    parser.add_argument("--out", type=pathlib.Path, default=None, help="file for the outcomes as JSON")
    parser.add_argument("--place", type=pathlib.Path, default=None, help="folder for everything; is kept")
    options = parser.parse_args()
    cases = [
        (scenario, fault)
        for scenario, fault in (short() if options.short else long(options.kills))
        if not options.only or any(text in f"{scenario.name}: {fault.name}" for text in options.only)
    ]
    if options.list:
        print("\n".join(f"{scenario.name}: {fault.name}" for scenario, fault in cases))
        return 0
    place = options.place or pathlib.Path(tempfile.mkdtemp(prefix="boneage-faults-"))
    place = place.resolve()
    place.mkdir(parents=True, exist_ok=True)
    os.environ.update(execute.environment())
    os.environ["BONEAGE_CACHE"] = str(place / "cache")
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.default_int_handler)
    begun = time.monotonic()
    import_all()
    print(f"faults: {len(cases)} cases in {place}, {time.monotonic() - begun:.0f} s for imports", flush=True)
    outcomes = []
    striking = Campaign(place)
    for scenario, fault in cases:
        draw = random.Random(f"{options.seed}-{scenario.name}-{fault.name}")
        one = striking.strike(scenario, fault, draw)
        outcomes.append(one)
        print(f"{one.verdict:<9}{one.seconds:5.0f} s  {one.scenario}: {one.fault}: {one.note[:300]}", flush=True)
        if options.out:
            options.out.write_text(json.dumps([dataclasses.asdict(one) for one in outcomes], indent=2) + "\n")
    print(table(outcomes))
    lost = any(one.verdict == LOST for one in outcomes)
    if options.place is None and not lost:
        shutil.rmtree(place, ignore_errors=True)
    return 1 if lost or not outcomes else 0


if __name__ == "__main__":
    sys.exit(main())
