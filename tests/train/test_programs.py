"""Trainings share their programs where nothing that is compiled differs, and only there."""

import dataclasses

from boneage_jax.config import default_config, validate
from boneage_jax.distributed.mesh import make_mesh
from boneage_jax.train.programs import compile_programs


def changed(config, **changes):
    """`changes` are dotted keys with `__` for the dot."""
    for key, value in changes.items():
        section, name = key.split("__")
        config = dataclasses.replace(
            config, **{section: dataclasses.replace(getattr(config, section), **{name: value})}
        )
    return config


def test_programs_are_shared_by_trainings_alike():
    nested = default_config()
    nested.data.height, nested.data.width = 16, 16
    nested.model.widths, nested.model.dense = (2,), (2,)
    config, mesh = validate(nested), make_mesh(1)

    def programs(total_steps=10, **changes):
        return compile_programs(changed(config, **changes), mesh, total_steps=total_steps, warmup_steps=1)

    first = programs()
    same = {"data__dir": "elsewhere", "data__fold": 2, "train__length": "9 steps", "eval__every": "2 steps"}
    assert programs(**same) is first
    for other in ({"train__seed": 1}, {"augment__gamma": 0.0}, {"optimizer__clip_norm": 2.0}, {"total_steps": 20}):
        assert programs(**other) is not first, other
