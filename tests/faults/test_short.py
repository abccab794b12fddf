"""A few faults of the campaign, for CI: see `python -m tests.faults`."""

import json
import subprocess
import sys

import pytest

from tests.faults import campaign, compare
from tests.faults.scenarios import SCENARIOS


@pytest.mark.engine
def test_killed_and_damaged_commands_come_to_the_same_result(tmp_path):
    """By real processes: a build killed while it writes; a training killed at random, and with a damaged log."""
    command = [sys.executable, "-m", "tests.faults", "--short", f"--place={tmp_path}", f"--out={tmp_path / 'out.json'}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    outcomes = json.loads((tmp_path / "out.json").read_text())
    assert len(outcomes) == 3
    # On a quick machine a command may end before it is killed: then that fault is skipped.
    killed, damaged = outcomes[:2], outcomes[2]
    assert {one["verdict"] for one in killed} <= {"survived", "skipped"}
    assert damaged["verdict"] == "survived"
    assert all(one["faults"] for one in outcomes if one["verdict"] == "survived")


def test_a_difference_and_a_leftover_are_seen(tmp_path):
    """What the campaign rests on: a changed byte, a missing file, another step; not the time of a log's line."""
    line = '{"step": 1, "time": %d, "loss": %s}\n'
    for name, time, loss in (("a", 1, "0.5"), ("b", 2, "0.5"), ("c", 1, "0.25")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.jsonl").write_text(line % (time, loss))
    (tmp_path / "b" / ".lock").write_text("")
    a, b, c = (compare.digests(tmp_path / name) for name in "abc")
    assert a == b
    assert a != c
    assert compare.half_written(tmp_path) == []
    (tmp_path / "a" / ".table.csv.x1.part").write_text("")
    (tmp_path / "b" / "incomplete.AB12CD_1.0.0").mkdir()
    (tmp_path / "c" / "2.orbax-checkpoint-tmp").mkdir()
    assert len(compare.half_written(tmp_path)) == 3


def test_every_scenario_has_its_faults():
    for scenario in SCENARIOS:
        names = [fault.name for fault in campaign.faults_of(scenario, 3)]
        assert len(names) == len(set(names)), scenario.name
        assert {"SIGKILL", "SIGTERM", "read-only folder", "two starters at once"} <= set(names)
        assert set(scenario.needs) <= {one.name for one in SCENARIOS}
