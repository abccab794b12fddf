"""Training, from top to bottom as the experiment goes: data, mesh, state, resume, steps, evaluation, checkpoints."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import pathlib
import sys

import jax
import numpy as np

from boneage_jax import shown, tasks
from boneage_jax.config import MAY_DIFFER_ON_RESUME, Duration, ExperimentConfig, to_dict
from boneage_jax.data.pipeline import training_batches
from boneage_jax.data.reading import epoch_of, mixed_of, source_of, view_of
from boneage_jax.data.sources import Dataset, Source
from boneage_jax.distributed import processes
from boneage_jax.distributed.feed import DeviceFeed
from boneage_jax.distributed.mesh import check_batch_size, make_mesh, replicated, share
from boneage_jax.distributed.signals import StoppedEarly, stop_on_signals
from boneage_jax.errors import EXIT_NOT_FINITE, UserError
from boneage_jax.phantoms.fresh import FreshPhantoms
from boneage_jax.runs import checkpoint, run_folder
from boneage_jax.runs.inference import predict_all
from boneage_jax.settings import flatten
from boneage_jax.train.initial_weights import start_from_run, start_from_weights
from boneage_jax.train.logs import RunLog, Window, progress_bar
from boneage_jax.train.programs import compile_programs
from boneage_jax.train.step import Metrics


class NonFiniteLoss(UserError):
    """The loss is no longer a number."""

    exit_status = EXIT_NOT_FINITE
    is_agreed = True  # the loss is the same in all processes


@dataclasses.dataclass(frozen=True)
class Plan:
    """All durations of a run, in steps.

    Attributes:
      total: length of the run.
      warmup: of the learning rate.
      evaluate: between evaluations.
      save: between checkpoints.
      log: between lines of the log.
    """

    total: int
    warmup: int
    evaluate: int
    save: int
    log: int

    @classmethod
    def of(cls, config: ExperimentConfig, examples_per_epoch: int) -> Plan:
        """Returns the plan of a config for a training split of the given size."""

        def steps(text: str, total: int | None) -> int:
            return Duration.parse(text).in_steps(
                batch_size=config.train.batch_size, examples_per_epoch=examples_per_epoch, total_steps=total
            )

        total = steps(config.train.length, None)
        warmup = steps(config.optimizer.warmup, total) if config.optimizer.warmup else 0
        return cls(
            total,
            warmup,
            steps(config.eval.every, total),
            steps(config.checkpoint.every, total),
            steps(config.log.every, total),
        )


@dataclasses.dataclass(frozen=True)
class Result:
    """Result of a finished run.

    Attributes:
      folder: of the run.
      steps: that it has been trained for.
      score: of the newest evaluation; NaN where nothing was left to do.
      shown: the same for people; empty where nothing was left to do.
      task: that was learnt.
      split: of the dataset, that no training has looked at where there is one.
    """

    folder: pathlib.Path
    steps: int
    score: float
    shown: str
    task: tasks.Task
    split: str

    def summary(self) -> str:
        """Returns what was reached and where it lies, for people."""
        reached = f", evaluation {self.shown}" if self.shown else ""
        return (
            f"step {self.steps}{reached}. The run lies in {self.folder}: checkpoints/, metrics.jsonl, tensorboard/\n"
            f"next: {shown.command('evaluate', self.folder, '--split', self.split)}"
        )


def train(config: ExperimentConfig, folder: pathlib.Path) -> Result:
    """Trains, or goes on training, the run in `folder`.

    Args:
      config: the experiment.
      folder: where the run lies; made where it is missing.

    Raises:
      UserError: for anything the user can mend, before data or devices are touched where possible.
      NonFiniteLoss: at the first loss that is not finite.
      StoppedEarly: after SIGTERM or SIGUSR1, once the state is saved.
    """
    # ---- devices and data ----------------------------------------------------------------------------------------
    processes.agree(_settings(config) | checkpoint.versions())
    with processes.raise_together():
        mesh = make_mesh(config.train.devices)
        check_batch_size("train.batch_size", config.train.batch_size, mesh, accumulation=config.train.accumulation)
        check_batch_size("eval.batch_size", config.eval.batch_size, mesh)
    task = tasks.build(config.task)
    eval_split = config.data.train_split if config.data.folds else config.data.eval_split
    train_source = _fresh(config, task) if config.data.fresh else _open(config, task, config.data.train_split)
    eval_source = _open(config, task, eval_split, evaluation=True)
    mixed = mixed_of(config.data, task.layers)
    plan = Plan.of(config, epoch_of(len(train_source), config.data))
    dataset = Dataset.of(config.data)
    read = [train_source, eval_source] + ([mixed.source] if mixed else [])
    about = checkpoint.describe(config, " ".join(source.fingerprint for source in read), dataset.facts)
    processes.agree({"the data's fingerprint": about["data_fingerprint"]})
    with contextlib.ExitStack() as stack:
        processes.on_process_zero(lambda: stack.enter_context(run_folder.locked(folder)))
        processes.on_process_zero(lambda: run_folder.claim(folder, about))

        # ---- network, optimiser, compiled steps ------------------------------------------------------------------
        programs = compile_programs(config, mesh, total_steps=plan.total, warmup_steps=plan.warmup)
        state = programs.initial()

        # ---- resume: the newest whole checkpoint of this folder, else from the seed ------------------------------
        checkpoints = checkpoint.Checkpoints(folder / "checkpoints", config.checkpoint)
        # Never leave before the asynchronous save has ended.
        stack.callback(checkpoints.close)
        restored = checkpoints.restore_newest(state, replicated(mesh))
        if restored is None and config.train.start:
            restored = start_from_run(state, config, mesh)
        elif restored is None and config.model.weights:
            restored = start_from_weights(state, config, mesh)
        state = restored or state
        done = int(state.step)
        is_process_zero = processes.is_process_zero()
        if done >= plan.total:
            if is_process_zero:
                print(
                    f"{folder}: nothing left to do, step {done} of {plan.total} is reached. To train for longer, with "
                    f"a schedule of its own: {run_folder.way_to_lengthen(folder)}",
                    file=sys.stderr,
                )
            return Result(folder, done, math.nan, "", task, _split_to_evaluate(config, task, dataset, eval_split))
        if is_process_zero:
            size = sum(x.size for x in jax.tree.leaves(state.params))
            of_processes = f" of {jax.process_count()} processes" if jax.process_count() > 1 else ""
            print(
                f"{folder}: {size:,} parameters, {len(train_source):,} images, {mesh.size} {jax.default_backend()} "
                f"devices{of_processes}, {f'from step {done} ' if done else ''}to step {plan.total}",
                file=sys.stderr,
            )

        # ---- input: the step number is the whole state of the order ----------------------------------------------
        reading = {"threads": config.data.threads, "prefetch": config.data.prefetch}
        feed = DeviceFeed(
            training_batches(
                train_source,
                batch_size=config.train.batch_size,
                seed=config.train.seed,
                mixed=mixed,
                start_step=done,
                echo_factor=config.data.echo_factor,
                share=share(mesh),
                **reading,
            ),
            mesh,
        )
        log = stack.enter_context(
            RunLog(folder, from_step=done, tensorboard=config.log.tensorboard, enabled=is_process_zero)
        )
        bar = stack.enter_context(progress_bar(total_steps=plan.total, done=done, enabled=is_process_zero))
        stop = stack.enter_context(stop_on_signals())
        votes = processes.Votes(mesh)
        window = Window(config.train.batch_size, feed)
        # From here on every copy between host and device is one that the code asks for; hidden ones fail.
        stack.enter_context(jax.transfer_guard("disallow" if config.train.transfer_guard else "allow"))
        score = math.nan
        pending = None  # the metrics of the step before, read only once the next is under way

        for step in range(done + 1, plan.total + 1):
            # ---- one step --------------------------------------------------------------------------------------
            batch = next(feed)
            state, metrics = processes.serialised(programs.step(state, batch))
            if pending is not None:
                window.add(_finite(*pending, folder, checkpoints))
            pending = (step, metrics)
            bar.update()
            if step == done + 1:
                # The first step compiles: it is waited for, and its time does not count.
                jax.block_until_ready(metrics)
                window.restart()

            # ---- log -------------------------------------------------------------------------------------------
            last = step == plan.total
            # Read once: a signal that comes a moment later waits for the next step.
            stopping = votes.heard(bool(stop))
            evaluates = last or step % plan.evaluate == 0
            saves = evaluates or step % plan.save == 0 or stopping
            logs = last or step % plan.log == 0
            if saves or logs:
                window.add(_finite(*pending, folder, checkpoints))
                pending = None
            if logs:
                scalars = window.close()
                log.write(step, scalars)
                bar.set_postfix_str(
                    f"loss {scalars['loss']:.4f}, {task.score.shown(scalars[task.score.name])}", refresh=False
                )

            # ---- evaluation and checkpoint ---------------------------------------------------------------------
            if evaluates:
                scored = predict_all(
                    programs.score, state.evaluated, eval_source, mesh, batch_size=config.eval.batch_size, **reading
                )
                score = float(scored.mean())
                log.write(step, {f"eval_{task.score.name}": score})
                if is_process_zero:
                    bar.write(f"step {step}: {config.data.eval_split} {task.score.shown(score)}", file=sys.stderr)
            if saves:
                with jax.transfer_guard("allow"):
                    evaluation = {"score": score, "badness": task.score.badness(score)} if evaluates else {}
                    checkpoints.save(state, about, step=step, **evaluation)
                window.restart()
            if stopping and not last:
                checkpoints.wait()
                why = stop.name or "a signal in another process"
                raise StoppedEarly(
                    f"{folder}: {why} received; saved at step {step} of {plan.total}. "
                    "Start the same command again to go on"
                )
        checkpoints.wait()
    split = _split_to_evaluate(config, task, dataset, eval_split)
    return Result(folder, plan.total, score, task.score.shown(score), task, split)


def _settings(config: ExperimentConfig) -> dict[str, str]:
    """What all processes of a run must have alike, by key."""
    return {key: repr(value) for key, value in flatten(to_dict(config)).items() if key not in MAY_DIFFER_ON_RESUME}


def _open(config: ExperimentConfig, task: tasks.Task, split: str, *, evaluation: bool = False) -> Source:
    """Opens a split, all examples of which have what the task learns from."""
    dataset = Dataset.of(config.data)
    view = view_of(config.data, task.layers, split=split, evaluation=evaluation)
    records = dataset.split(split, view)
    if not len(records):
        raise UserError(f"{dataset.path}: the split {split!r} holds no image that can be used")
    if task.needs_age:
        ages, _ = records.labels()
        unknown = int((~np.isfinite(ages)).sum())
        if unknown:
            raise UserError(
                f"{dataset.path}: {unknown} of {len(ages)} images of the split {split!r} have no bone age; expected a "
                "reading for each. Choose another split"
            )
    return source_of(dataset, split, config.data, view)


def _split_to_evaluate(config: ExperimentConfig, task: tasks.Task, dataset: Dataset, eval_split: str) -> str:
    """`test` where it has what the task is scored by (the Kaggle mirror's has no ages), else that of the training."""
    if "test" not in dataset.splits:
        return eval_split
    try:
        _open(config, task, "test", evaluation=True)
    except UserError:
        return eval_split
    return "test"


def _fresh(config: ExperimentConfig, task: tasks.Task) -> Source:
    """Opens phantoms without end."""
    data = config.data
    return FreshPhantoms(
        data.fresh,
        view_of(data, task.layers),
        seed=config.train.seed,
        ages=data.fresh_ages,
        rater_sd=data.fresh_rater_sd,
    )


def _finite(step: int, metrics: Metrics, folder: pathlib.Path, checkpoints: checkpoint.Checkpoints) -> dict[str, float]:
    """Fetches a step's metrics; raises `NonFiniteLoss` where its loss or gradient is not finite."""
    values = {name: float(value) for name, value in jax.device_get(metrics).items()}
    if not (math.isfinite(values["loss"]) and math.isfinite(values["gradient_norm"])):
        checkpoints.wait()
        last = max(checkpoints.steps(), default=None)
        kept = f"the checkpoint of step {last} is kept" if last is not None else "no checkpoint had been saved yet"
        raise NonFiniteLoss(
            f"{folder}: at step {step} the loss is {values['loss']} and the gradient's norm "
            f"{values['gradient_norm']}; {kept}. "
            "Lower optimizer.learning_rate, set optimizer.clip_norm, or look at the data"
        )
    return values
