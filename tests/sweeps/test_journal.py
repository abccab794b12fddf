"""A study's journal after a crash: cut anywhere in a line, it is mended before anything is appended."""

import json
import pathlib
import subprocess
import sys
import threading

import pytest

from boneage_jax.cli import main
from boneage_jax.errors import UserError
from boneage_jax.sweeps import commands, journal
from boneage_jax.sweeps.space import Sweep, choice, integer, uniform
from boneage_jax.sweeps.study import JOURNAL, Folder, optuna_here

optuna = pytest.importorskip("optuna")

SPACE = {"model.dropout": uniform(0.0, 0.9), "train.seed": integer(0, 99), "train.batch_size": choice(16, 32)}


def made(tmp_path, **changes):
    sweep = Sweep("configs/tiny.py", SPACE, **{"trials": 8, "sampler": "random", "pruner": "NopPruner", **changes})
    return Folder.make(tmp_path / "sweep", sweep, "eval_mae", "minimize", "")


def told(folder, count):
    """Tries so many trials, with a value that says which."""
    for _ in range(count):
        claim = folder.claim("w")
        folder.study().tell(claim.number, 100.0 + claim.number)


def fresh(folder):
    """Number, state, value and settings of all trials, as a process that knows nothing else reads them."""
    code = (
        "import json, pathlib, sys; from boneage_jax.sweeps.study import Folder\n"
        "study = Folder.open(pathlib.Path(sys.argv[1])).study()\n"
        "print(json.dumps([[t.number, t.state.name, t.value, t.params] for t in study.get_trials()]))"
    )
    done = subprocess.run([sys.executable, "-c", code, folder.path], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def operations(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize(
    "left",
    [
        pytest.param(1, id="1 byte", marks=pytest.mark.integration),
        pytest.param(7, id="7 bytes"),
        pytest.param(40, id="40 bytes", marks=pytest.mark.integration),
        pytest.param(-2, id="no brace", marks=pytest.mark.integration),
        pytest.param(-1, id="no line end"),
    ],
)
def test_a_journal_cut_in_mid_line_goes_on(tmp_path, capsys, left):
    """The last line says that trial 3 has ended; of it so many bytes are left, from its beginning or its end."""
    folder = made(tmp_path)
    told(folder, 4)
    path = folder.path / JOURNAL
    before, whole = fresh(folder), path.read_bytes()
    start = whole[:-1].rfind(b"\n") + 1
    end = start + left if left > 0 else len(whole) + left
    path.write_bytes(whole[:end])
    tail = whole[start:end]

    # Whoever reads alone changes nothing.
    assert main(["sweep", "status", str(folder.path)]) == 0
    assert path.read_bytes() == whole[:end]
    capsys.readouterr()

    if left == -1:  # all of it is there but the line's end
        told(folder, 1)
        assert fresh(folder)[:4] == before
        assert not path.with_name(JOURNAL + journal.CUT).exists()
    else:
        assert folder.claim("another", lease=1e-9).number == 3, "it was under way: taken over"
        folder.study().tell(3, 103.0)
        assert fresh(folder) == before
        assert path.with_name(JOURNAL + journal.CUT).read_bytes() == tail + b"\n"
    assert f"{path}: the last line was cut short" in capsys.readouterr().err
    told(folder, 8 - len(fresh(folder)))
    after = fresh(folder)
    assert after[:4] == before
    assert [(number, state, value) for number, state, value, _ in after] == [
        (n, "COMPLETE", 100.0 + n) for n in range(8)
    ]
    assert all("op_code" in one for one in operations(path)), "every line is whole"
    assert folder.claim("w") == "done"


def test_optuna_alone_would_not(tmp_path):
    """The fault that this is about: what is appended to half a line makes the file unreadable."""
    folder = made(tmp_path)
    told(folder, 2)
    path = folder.path / JOURNAL
    path.write_bytes(path.read_bytes()[:-9])
    backend = optuna.storages.journal.JournalFileBackend(str(path))
    storage = optuna.storages.JournalStorage(backend)
    study = optuna.load_study(study_name=folder.name, storage=storage)
    study.set_user_attr("a", 1)
    with pytest.raises(ValueError, match="Expecting"):
        study.set_user_attr("b", 1)
    with pytest.raises(UserError, match=rf"{JOURNAL}: line \d+ cannot be read .*take the first (\d+) bytes") as caught:
        folder.study()
    # What it advises helps.
    number, count = (int(str(caught.value).split(word)[1].split()[0]) for word in (": line ", "take the first "))
    lines = path.read_bytes().splitlines(keepends=True)
    lines[number - 1] = lines[number - 1][count:]
    path.write_bytes(b"".join(lines))
    assert folder.study().user_attrs["a"] == 1
    assert main(["sweep", "status", str(folder.path)]) == 0


def test_rubbish_within_is_named(tmp_path, capsys):
    folder = made(tmp_path)
    told(folder, 1)
    path = folder.path / JOURNAL
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[0], b"\0\0\0\0\n", *lines[1:]]))
    assert main(["sweep", "status", str(folder.path)]) == 2
    assert "line 2 cannot be read as an operation" in capsys.readouterr().err


def test_zeros_at_the_end_are_taken_away(tmp_path):
    """As some file systems leave them when the power fails."""
    folder = made(tmp_path)
    told(folder, 2)
    path = folder.path / JOURNAL
    whole = path.read_bytes()
    path.write_bytes(whole + bytes(200_000))
    told(folder, 1)
    assert path.read_bytes().startswith(whole)
    assert b"\0" not in path.read_bytes()
    assert len(fresh(folder)) == 3


def test_many_append_while_it_is_mended(tmp_path):
    """Each mends or appends under the same lock: nothing whole is lost."""
    folder = made(tmp_path, trials=40)
    told(folder, 1)
    path = folder.path / JOURNAL
    with path.open("ab") as file:
        file.write(b'{"op_code":8,"worker_id":"')
    study = folder.study()

    def work(name):
        own = folder.study()
        for n in range(10):
            own.set_user_attr(f"{name}-{n}", n)

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    attributes = folder.study().user_attrs
    assert {f"{name}-{n}" for name in "abcd" for n in range(10)} <= attributes.keys()
    assert study.user_attrs == attributes


@pytest.mark.parametrize("sampler", ["random", "grid", "TPESampler"])
@pytest.mark.parametrize("kept", [0, 1, 2])
def test_a_trial_whose_settings_were_not_all_written_gets_the_rest(tmp_path, sampler, kept):
    """Its worker was lost between two lines. With defaults for the rest it would be another trial."""
    space = {"model.dropout": choice(0.1, 0.5), "train.seed": integer(3, 9), "train.batch_size": choice(16, 32)}
    folder = Folder.make(
        tmp_path / "s", Sweep("configs/tiny.py", space, sampler=sampler, trials=20), "eval_mae", "minimize", ""
    )
    claim = folder.claim("w")
    path = folder.path / JOURNAL
    lines = path.read_bytes().splitlines(keepends=True)
    params = [n for n, line in enumerate(lines) if json.loads(line)["op_code"] == 5]  # SET_TRIAL_PARAM
    assert len(params) == 3
    path.write_bytes(b"".join(line for n, line in enumerate(lines) if n not in params[kept:]))
    (folder.path / "claims" / "0000.json").unlink()
    again = folder.claim("other")
    assert again.number == claim.number == 0
    assert again.values.keys() == space.keys()
    assert fresh(folder)[0][3].keys() == space.keys()
    assert commands.full_values(folder, 0) == again.values
    if sampler == "grid":
        assert again.values == claim.values
    names = list(space)[:kept]
    assert [again.values[name] for name in names] == [claim.values[name] for name in names]
    assert 3 <= int(again.values["train.seed"]) <= 9


def test_a_start_that_was_cut_short_is_started_again(tmp_path, monkeypatch):
    """Some points of the grid are queued, and no sweep.json is written yet."""
    space = {"train.seed": integer(0, 5)}
    sweep = Sweep("configs/tiny.py", space, sampler="grid")
    queued = optuna.Study.enqueue_trial

    def fails_at_third(self, params, **options):
        if params["train.seed"] == 3:
            raise KeyboardInterrupt
        queued(self, params, **options)

    place = pathlib.Path(tmp_path / "s")
    with monkeypatch.context() as patched:
        patched.setattr(optuna.Study, "enqueue_trial", fails_at_third)
        with pytest.raises(KeyboardInterrupt):
            Folder.make(place, sweep, "eval_mae", "minimize", "")
    assert not (place / "sweep.json").exists()
    folder = Folder.make(place, sweep, "eval_mae", "minimize", "")
    points = [trial.system_attrs["fixed_params"]["train.seed"] for trial in folder.study().get_trials()]
    assert points == list(range(6))
    assert optuna_here() is optuna
