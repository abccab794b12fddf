"""What a run writes, read back by a reader of its own."""

import json
import struct

from tensorboardX.proto import event_pb2

from boneage_jax.train.logs import RunLog, scalars_of


def events(folder):
    """Events of all files, by TensorFlow's record format: length, its checksum, bytes, their checksum."""
    for path in sorted(folder.glob("events.*")):
        data, at = path.read_bytes(), 0
        while at < len(data):
            (length,) = struct.unpack_from("<Q", data, at)
            yield event_pb2.Event.FromString(data[at + 12 : at + 12 + length])
            at += 12 + length + 4


def test_curves_of_training_and_evaluation_have_tags_of_their_own_and_share_a_chart(tmp_path):
    with RunLog(tmp_path, from_step=0, tensorboard=True) as log:
        log.write(1, {"loss": 0.5, "mae": 20.0})
        log.write(2, {"loss": 0.25, "mae": 10.0})
        log.write(2, {"eval_mae": 12.0})
    written = [
        (event.step, value.tag, value.simple_value)
        for event in events(tmp_path / "tensorboard")
        for value in event.summary.value
        if value.WhichOneof("value") == "simple_value"
    ]
    assert written == [
        (1, "train/loss", 0.5),
        (1, "train/mae", 20.0),
        (2, "train/loss", 0.25),
        (2, "train/mae", 10.0),
        (2, "eval/mae", 12.0),
    ]
    charts = [
        value.tensor.string_val[0]
        for event in events(tmp_path / "tensorboard")
        for value in event.summary.value
        if value.tag.startswith("custom_scalars")
    ]
    assert len(charts) == 1
    assert b"train/mae" in charts[0]
    assert b"eval/mae" in charts[0]


def test_metrics_keep_their_names_and_a_resumed_run_drops_what_came_after(tmp_path):
    with RunLog(tmp_path, from_step=0, tensorboard=False) as log:
        for step in (1, 2, 3):
            log.write(step, {"loss": 1.0 / step})
        log.write(3, {"eval_mae": 9.0})
    with RunLog(tmp_path, from_step=2, tensorboard=False) as log:
        log.write(3, {"loss": 0.125})
    assert [(line["step"], line["loss"]) for line in scalars_of(tmp_path)] == [(1, 1.0), (2, 0.5), (3, 0.125)]
    # A line that a kill has cut short is left out.
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"step": 4, "loss": 0.0})[:-3])
    assert len(scalars_of(tmp_path)) == 3
