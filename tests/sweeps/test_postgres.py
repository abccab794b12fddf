"""A study in a real PostgreSQL, as workers of many nodes share one."""

import contextlib
import os
import pathlib
import shutil
import socket
import subprocess
import tempfile

import pytest

from boneage_jax.errors import UserError
from boneage_jax.sweeps import commands
from boneage_jax.sweeps.space import Sweep, uniform
from boneage_jax.sweeps.study import Folder

pytest.importorskip("psycopg")
BIN = next(iter(sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), pathlib.Path("none"))
pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(not (BIN / "pg_ctl").exists(), reason="PostgreSQL is not here: apt-get install postgresql"),
]


@pytest.fixture(scope="module")
def url():
    """A server of this module's own; PostgreSQL refuses to be run by root."""
    place = pathlib.Path(tempfile.mkdtemp(prefix="boneage-postgres-"))
    place.chmod(0o777)
    as_other = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    def run(*command):
        subprocess.run([*as_other, *map(str, command)], check=True, capture_output=True, cwd="/")

    options = f"-p {port} -k {place} -c listen_addresses=127.0.0.1"
    run(BIN / "initdb", "-D", place / "data", "-U", "boneage", "-A", "trust")
    run(BIN / "pg_ctl", "-D", place / "data", "-o", options, "-l", place / "log", "-w", "start")
    try:
        yield f"postgresql://boneage@127.0.0.1:{port}/postgres"
    finally:
        with contextlib.suppress(subprocess.CalledProcessError):
            run(BIN / "pg_ctl", "-D", place / "data", "-m", "immediate", "stop")
        shutil.rmtree(place, ignore_errors=True)


def test_workers_of_two_nodes_share_the_trials(url, tmp_path):
    sweep = Sweep("configs/tiny.py", {"model.dropout": uniform(0.0, 0.5)}, trials=4, sampler="random")
    first = Folder.make(tmp_path / "sweep", sweep, "eval_mae", "minimize", url)
    second = Folder.open(tmp_path / "sweep")
    claims = [folder.claim(name) for folder, name in ((first, "a"), (second, "b"), (first, "a"), (second, "b"))]
    assert [claim.number for claim in claims] == [0, 1, 2, 3]
    assert second.claim("b") == "wait"
    for claim in claims:
        first.trial(first.study(), claim.number).report(5.0 - claim.number, 1)
        first.study().tell(claim.number, 5.0 - claim.number)
    assert second.claim("b") == "done"
    assert not (tmp_path / "sweep" / "study.log").exists()
    assert commands.best_of(second, commands.trials_of(second)).number == 3


def test_a_study_of_that_name_with_another_space(url, tmp_path):
    Folder.make(
        tmp_path / "a" / "same", Sweep("configs/tiny.py", {"model.dropout": uniform(0, 0.5)}), "m", "minimize", url
    )
    other = Sweep("configs/tiny.py", {"model.dropout": uniform(0, 0.4)})
    with pytest.raises(UserError, match=r"the study 'same' of postgresql://.* holds another search"):
        Folder.make(tmp_path / "b" / "same", other, "m", "minimize", url)
    assert not (tmp_path / "b" / "same" / "sweep.json").exists()
