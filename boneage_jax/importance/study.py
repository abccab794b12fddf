"""What `boneage importance` finds out about a run: every attribution method on the same images, and its faithfulness.

Each result has a file of its own, see `cache`: the same command goes on where it was interrupted.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from boneage_jax.files import check_writable
from boneage_jax.importance import compared_runs, faithfulness, methods, subjects, truth
from boneage_jax.importance.cache import Cache
from boneage_jax.importance.compared_runs import RunPredictions
from boneage_jax.importance.explainer import Explainer
from boneage_jax.importance.faithfulness import Faithfulness
from boneage_jax.importance.function import AgeFunction, Runner
from boneage_jax.importance.method import Importance, Method
from boneage_jax.importance.request import ImportanceRequest
from boneage_jax.importance.subjects import Selection, Subjects
from boneage_jax.importance.truth import TRUTH
from boneage_jax.runs import run_folder
from boneage_jax.runs.run_folder import LoadedRun


@dataclasses.dataclass(frozen=True)
class Findings:
    """The results of a study.

    Attributes:
      request: what was asked.
      loaded: the run.
      selection: which images of which dataset.
      subjects: the images.
      methods: that were asked.
      importance: by method's name; under `truth.TRUTH` the truth, on phantoms.
      faithfulness: by method's name.
      most_faithful: name of the method of the greatest merit.
      compared: predictions of this run and those beside it, by name; empty without runs beside it.
      explainer: to ask more of the methods.
    """

    request: ImportanceRequest
    loaded: LoadedRun
    selection: Selection
    subjects: Subjects
    methods: tuple[Method, ...]
    importance: dict[str, Importance]
    faithfulness: dict[str, Faithfulness]
    most_faithful: str
    compared: dict[str, RunPredictions]
    explainer: Explainer

    @property
    def truth(self) -> Importance | None:
        """The truth; None where there is none."""
        return self.importance.get(TRUTH)

    @property
    def groups(self) -> dict[str, np.ndarray]:
        """Importance of each image's groups, by method's name; the truth first, where there is one."""
        return {name: one.groups for name, one in self.importance.items()}

    @property
    def areas(self) -> dict[str, np.ndarray]:
        """Importance of each image's areas, by the names of those that have it."""
        return {name: one.areas for name, one in self.importance.items() if one.areas is not None}


def study(request: ImportanceRequest) -> Findings:
    """Asks attribution methods which parts of the hand a run's predictions rest on, and scores the methods.

    Args:
      request: about which run and images, and which methods; without any all of `methods.METHODS`.

    Raises:
      UserError: for runs and data that cannot be used, folders that cannot be written, and unknown methods.
    """
    chosen = methods.chosen(request.methods)
    loaded = run_folder.load(request.run)
    runner = Runner(loaded, AgeFunction.of(loaded), request.batch_size)
    selection = Selection.of(request, loaded)
    check_writable(request.out)
    cache = Cache(
        request.out,
        {
            "run": run_folder.digest(loaded),
            "data": selection.dataset.fingerprint,
            "split": request.split,
            "images": selection.numbers.tolist(),
            "filling": request.filling,
            "seed": request.seed,
        },
    )
    found = subjects.read(selection, runner, cache, workers=request.workers)

    explainer = Explainer(runner, found, cache, filling=request.filling, seed=request.seed)
    trained = {method.name: explainer.importance(method) for method in chosen}
    untrained = {method.name: explainer.untrained_importance(method) for method in chosen}
    true = _truth(request, selection, runner, found, cache)

    scores = {}
    for method in chosen:
        mine, rows = trained[method.name], explainer.untrained_rows
        bones, groups, by_image = faithfulness.against_truth(mine, true)
        deletion, insertion = explainer.deletion_and_insertion(method, mine.groups)
        # Group 0 is no bone: it is left out, as in the comparison with the truth.
        blank = faithfulness.agreement_by_image(mine.groups[rows, 1:], untrained[method.name].groups[:, 1:])
        scores[method.name] = Faithfulness(bones, groups, by_image, deletion, insertion, blank)
    return Findings(
        request=request,
        loaded=loaded,
        selection=selection,
        subjects=found,
        methods=chosen,
        importance={**({TRUTH: true} if true is not None else {}), **trained},
        faithfulness=scores,
        most_faithful=faithfulness.most_faithful(scores),
        compared=compared_runs.predictions(loaded, request.beside, selection.dataset, split=request.split),
        explainer=explainer,
    )


def _truth(
    request: ImportanceRequest, selection: Selection, runner: Runner, found: Subjects, cache: Cache
) -> Importance | None:
    """Returns the truth of phantoms that can be drawn again; None for other images."""
    series = selection.series
    if series is None:
        return None

    def make() -> dict[str, np.ndarray]:
        aged = truth.importance(
            series,
            selection.children,
            view=selection.view,
            runner=runner,
            predicted=found.predicted,
            workers=request.workers,
        )
        return {"importance": aged}

    return Importance.of({"areas": cache("truth", make)["importance"]})
