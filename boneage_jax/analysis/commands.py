"""What `boneage evaluate` does: a run is scored on a split by the measure of its task."""

from __future__ import annotations

from boneage_jax.analysis import evaluate, per_image, report
from boneage_jax.analysis.request import EvaluateRequest
from boneage_jax.errors import UserError
from boneage_jax.runs import run_folder


def run(request: EvaluateRequest) -> str:
    """Scores a run, writes what the request asks for, and returns the scores for people.

    Raises:
      UserError: as `evaluate.evaluate` and `per_image.score` do.
    """
    if request.table and not request.by:
        raise UserError(f"--table {request.table}: found no --by, expected the column of it that errors are grouped by")
    loaded = run_folder.load(request.run, step=request.step)
    chosen = f"checkpoint of {loaded.chosen}"
    if request.by and not loaded.task.needs_age:
        raise UserError(f"{request.run}: its task is {loaded.config.task.name}, expected bone_age for --by")
    if not loaded.task.needs_age:
        scored = per_image.score(
            loaded, split=request.split, data_dir=request.data, dataset=request.dataset, out=request.out
        )
        return f"{chosen}\n{scored.as_text()}"
    result = evaluate.evaluate(
        loaded,
        split=request.split,
        data_dir=request.data,
        dataset=request.dataset,
        test_time=request.test_time,
        out=request.out,
        by=request.by,
        table=request.table,
    )
    if request.report:
        report.write(result, loaded, result.folder / "report.html")
    return f"{chosen}\n{evaluate.as_text(result)}\n\ntable, JSON and predictions lie in {result.folder}"
