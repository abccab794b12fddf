"""Plans: collectives accounted for, times by hand, the largest batch, and what is refused."""

import json

import numpy as np
import pytest

from boneage_jax.cli import main
from boneage_jax.distributed.mesh import make_mesh
from boneage_jax.errors import UserError
from boneage_jax.planning import chips, largest, plan
from boneage_jax.planning.chips import Topology
from boneage_jax.planning.collectives import account, collectives_of, seconds_on_slice
from boneage_jax.planning.cost import DoesNotFit, Memory, StepCost, operations_an_image, step_cost
from boneage_jax.planning.request import PlanRequest
from tests.planning.test_cost import CHANNELS, HEIGHT, WIDTH, experiment

PROGRAM = """
  %all-reduce.1 = (f32[48]{0}, f32[48]{0}) all-reduce(%a, %b), channel_id=2, to_apply=%add
  %all-reduce.2 = (f32[48]{0}, f32[48]{0:T(128)}) all-reduce(%c, %d), channel_id=3
  %all-reduce.3 = (f32[3,3,48,48]{3,2,1,0:T(8,128)}, f32[48,8]{1,0}, f32[8]{0}, f32[], f32[]) all-reduce(%e)
  %other = f32[48]{0} fusion(%all-reduce.1), kind=kLoop
  %permute = bf16[2,100]{1,0} collective-permute(%x), channel_id=5
  %all-reduce-start = f32[7]{0} all-reduce-start(%y), channel_id=6
  %all-reduce-done = f32[7]{0} all-reduce-done(%all-reduce-start)
"""
WEIGHTS = ((3, 3, 48, 48), (48, 8), (8,), (48,), (48,))


def test_collectives_are_read():
    found = collectives_of(PROGRAM)
    assert [one.kind for one in found] == ["all-reduce"] * 3 + ["collective-permute", "all-reduce"]
    assert [one.bytes for one in found] == [384, 384, 4 * (9 * 48 * 48 + 48 * 8 + 8 + 2), 400, 28]


def test_every_byte_has_a_purpose():
    """The sums on the way back are the gradients of batch norm's scale and offset; those on the way there are not."""
    found = account(collectives_of(PROGRAM), WEIGHTS)
    assert found.missing == ()
    assert found.bytes["gradients"] == 4 * sum(int(np.prod(shape)) for shape in WEIGHTS)
    assert found.bytes["batch norm and metrics"] == 384 + 8 + 28
    assert found.bytes["resharding"] == 400
    assert found.operations == {"gradients": 2, "batch norm and metrics": 2, "resharding": 1}
    assert account(collectives_of(PROGRAM), (*WEIGHTS, (5, 5))).missing == ((25,),)


@pytest.mark.parametrize("devices", [2, 4])
def test_a_real_step_sums_all_its_gradients_and_moves_no_activations(devices):
    cost = step_cost(experiment(), make_mesh(devices))
    found = account(cost.collectives, cost.weights)
    assert found.missing == ()
    assert found.operations.get("resharding", 0) == 0
    assert found.bytes["gradients"] == 4 * sum(int(np.prod(shape)) for shape in cost.weights)
    # Two blocks of two batch norms: mean and mean of squares of each channel.
    assert found.bytes["batch norm and metrics"] >= 4 * 4 * 2 * CHANNELS
    assert not step_cost(experiment(), make_mesh(1)).collectives


def test_operations_without_compiling():
    """As many as the convolutions say by themselves: forward once, backward about twice."""
    pixels = HEIGHT * WIDTH * (1 + 1 / 4)
    forward = 2 * HEIGHT * WIDTH * (9 * CHANNELS + CHANNELS**2) + 2 * HEIGHT * WIDTH / 4 * 10 * CHANNELS**2
    found = operations_an_image(experiment())
    assert 2.5 * forward < found < 4 * forward + 200 * pixels * CHANNELS


def test_all_reduce_on_a_torus_by_hand():
    """v5e: four links of 50 GB/s a chip; sides of 16 are rings, shorter ones are not."""
    (one,) = collectives_of("%a = f32[1000000]{0} all-reduce(%b)")
    whole = Topology.parse("v5e:16x16")
    expected = 2 * (4e6 * 255 / 256 / 200e9 + 16e-6)
    assert seconds_on_slice([one], whole) == pytest.approx(expected)
    line = Topology.parse("v5e:2x4")
    assert seconds_on_slice([one], line) == pytest.approx(2 * (4e6 * 7 / 8 / 100e9 + 4e-6))
    assert seconds_on_slice([one], Topology.parse("v5e:1x1")) == 0


@pytest.mark.parametrize("name", ["v5e", "v5e:", "v7x:2x2", "v5e:2x2x2", "v5p:4x4", "v5e:0x2"])
def test_wrong_slices_are_answered_with_the_known_ones(name, capsys):
    with pytest.raises(UserError, match=r"expected one as in v5e: v5e:1x1, .*v5p:2x2x1"):
        Topology.parse(name)
    assert main(["plan", "--config=configs/tiny.py", "--topology", name]) == 2
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.integration
def test_devices_that_are_here(capsys, tmp_path):
    out = tmp_path / "plan.json"
    arguments = ["--config.data.height=48", "--config.data.width=36", "--config.model.widths=(4,8)"]
    assert main(["plan", "--config=configs/tiny.py", *arguments, "--json", str(out), "--images", "3200"]) == 0
    text = capsys.readouterr().out
    assert "8 x cpu (8)" in text
    assert "No rates are known" in text
    stored = json.loads(out.read_text())
    assert (stored["chips"], stored["steps"]) == (8, 600)
    assert stored["gradients_not_summed"] == []
    assert stored["memory"]["total"] == sum(v for k, v in stored["memory"].items() if k != "total")
    assert stored["hours"] is None


@pytest.mark.integration
def test_times_go_by_the_chips_rates(monkeypatch):
    """With a chip of known rates in place of the processors that are here."""
    chip = chips.Chip("of paper", flops=1e9, bandwidth=1e9, memory=1e15, links=1e9)
    monkeypatch.setattr(chips, "of_device", lambda kind: chip)
    found = plan.plan(PlanRequest(experiment(), images=800, largest=False))
    assert found.seconds_arithmetic == pytest.approx(found.cost.flops / 1e9)
    assert found.seconds == pytest.approx(max(found.seconds_arithmetic, found.seconds_memory) + found.seconds_links)
    assert found.images_a_second == pytest.approx(8 / found.seconds)
    assert found.hours == pytest.approx(found.steps * found.seconds / 3600)
    alone = step_cost(experiment(1), make_mesh(1)).bound(chip)
    assert found.efficiency == pytest.approx(alone / found.seconds)
    assert 0 < found.efficiency < 1.3
    text = plan.as_text(found)
    assert f"{found.hours:.3g} hours" in text
    assert "weak scaling" in text


def cost_of(images, a_picture=10, rest=100):
    return StepCost(images, 1.0, 1.0, Memory(rest, 0, 0, images * a_picture, 0, 0))


@pytest.mark.parametrize(("memory", "expected"), [(10**6, 99984), (100 + 8 * 10 + 5, 8), (50, 0)])
def test_the_largest_batch_fits_and_no_larger_one(monkeypatch, memory, expected):
    """Memory as a straight line, and a compiler that refuses what does not fit."""
    chip = chips.Chip("of paper", 1.0, 1.0, float(memory))

    def compiled(config, mesh):
        cost = cost_of(config.train.batch_size)
        if cost.memory > memory:
            raise DoesNotFit("too much")
        return cost

    monkeypatch.setattr(largest, "step_cost", compiled)
    found = largest.largest_batch(experiment(64), make_mesh(1), chip, cost_of(64))
    assert found <= expected
    assert found >= 0.9 * expected
    assert found == 0 or cost_of(found).memory <= memory


def test_a_compiler_that_saves_memory_near_the_limit(monkeypatch):
    """As libtpu's does: a line up to 200 images, then nearly flat, and from 421 on nothing fits."""
    chip = chips.Chip("of paper", 1.0, 1.0, 2150.0)
    tried = []

    def compiled(config, mesh):
        tried.append(config.train.batch_size)
        if tried[-1] > 420:
            raise DoesNotFit("too much")
        line = cost_of(min(tried[-1], 200)).memory
        return cost_of(tried[-1], 0, int(line + 0.1 * max(0, tried[-1] - 200)))

    monkeypatch.setattr(largest, "step_cost", compiled)
    found = largest.largest_batch(experiment(64), make_mesh(1), chip, cost_of(64))
    assert found == max(size for size in tried if size <= 420)
    assert found > 1.5 * 200, "more than the line says"
    assert len(tried) <= 6


def test_a_batch_that_does_not_fit_says_so(monkeypatch):
    def refuse(config, mesh):
        raise DoesNotFit("needs 40 GiB")

    monkeypatch.setattr(plan, "step_cost", refuse)
    with pytest.raises(UserError, match="found 8, 1 images a chip, which do not fit into its memory"):
        plan.plan(PlanRequest(experiment(), images=800))


def test_weak_scaling_falls_with_the_slice():
    """The same program over longer ways; by hand for one of them."""
    cost = step_cost(experiment(), make_mesh(2))
    whole = Topology.parse("v5e:4x4")
    found = plan._slices(whole, cost, alone=0.002, bound=0.002)
    assert list(found) == ["v5e:2x2", "v5e:2x4", "v5e:4x4"]
    assert 1 > found["v5e:2x2"] > found["v5e:2x4"] > found["v5e:4x4"] > 0
    assert found["v5e:4x4"] == pytest.approx(0.002 / (0.002 + seconds_on_slice(cost.collectives, whole)))
