"""Options of `boneage paper`."""

from __future__ import annotations

import dataclasses
import pathlib

from boneage_jax.errors import UserError
from boneage_jax.options import option


def _override(text: str) -> str:
    """Returns `KEY=VALUE` as the argument of a config."""
    return f"--config.{text}"


@dataclasses.dataclass(frozen=True)
class PaperRequest:
    """Which part of the table, from which data, to where.

    With `folds`, each experiment is trained so many times, and what is reported are the images of the training split,
    each read by the network that has not seen its child.
    """

    out: pathlib.Path = option(help="folder for runs, tables and page")
    data: pathlib.Path = option(pathlib.Path("data"), "folder of built datasets")
    dataset: str = option(
        "hand_phantom/registered", "registered hands: with the regions as features, or images of the whole canvas"
    )
    experiments: tuple[str, ...] = option(
        (), "experiments to train, as in 'm46-*-A-all,resnet50-*'", default_text="all"
    )
    _: dataclasses.KW_ONLY
    tiny: bool = option(False, "train the experiments' tiny twins")
    half: bool = option(False, "inputs of half the paper's height and width, for radiographs that carry no more")
    slim: bool = option(False, "as --half, with narrow networks and 3 epochs: hours on a CPU instead of days")
    validation: str = option("validation", "split that ensembles are fitted on")
    test: str = option(
        "test", "split that is reported; where it is that of --validation, each fifth by fits to the other four"
    )
    folds: int = option(0, "cross-validation: number of folds; reports the training split; 0 for none", low=0)
    patients: pathlib.Path | None = option(None, "with --folds: CSV of image and patient, dealt together")
    overrides: tuple[str, ...] = option(
        (), "setting of every experiment's config", flag="--set", metavar="KEY=VALUE", parse=_override, repeat=True
    )
    beside: tuple[pathlib.Path, ...] = option(
        (),
        "run of another age model, scored beside the experiments and part of the ensembles; repeatable",
        metavar="RUN",
        repeat=True,
    )

    @property
    def suffix(self) -> str:
        """End of the experiments' names in `configs/paper/experiment.py`, as in `-half`.

        Raises:
          UserError: where more than one size is asked for.
        """
        sizes = [size for size in ("tiny", "half", "slim") if getattr(self, size)]
        if len(sizes) > 1:
            raise UserError(f"{' and '.join(f'--{size}' for size in sizes)}: expected at most one of them")
        return "".join(f"-{size}" for size in sizes)
