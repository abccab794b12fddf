"""Which lines are changed, into what, and the tests that must notice."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Mutation:
    """One change of one file, as a slip of a hand might make it: the program still runs, and answers wrongly.

    Attributes:
      name: what goes wrong.
      file: path in the repository.
      old: text that stands in the file exactly once.
      new: what it becomes.
      tests: what pytest is given to run; at least one of these tests must fail.
    """

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    def mutated(self, text: str) -> str:
        """Returns the file's text with the change.

        Raises:
          ValueError: where the old text does not stand in it exactly once, or the new one is the same.
        """
        found = text.count(self.old)
        if found != 1:
            raise ValueError(
                f"mutation {self.name!r}: {self.file} holds {self.old!r} {found} times, expected once; "
                "write it in tests/mutation/catalogue.py as the file has it now"
            )
        if self.new == self.old:
            raise ValueError(f"mutation {self.name!r}: changes nothing")
        return text.replace(self.old, self.new)


_BONE_AGE = "boneage_jax/tasks/bone_age.py"
_LANDMARKS = "boneage_jax/tasks/landmarks.py"
_SEGMENTATION = "boneage_jax/tasks/segmentation.py"
_PIPELINE = "boneage_jax/data/pipeline.py"
_AUGMENT = "boneage_jax/data/augment.py"
_DICOM = "boneage_jax/data/dicom.py"
_ENSEMBLE = "boneage_jax/analysis/ensemble.py"
_CONFORMAL = "boneage_jax/analysis/conformal.py"
_LOCAL = "boneage_jax/analysis/local_calibration.py"
_STEP = "boneage_jax/train/step.py"

MUTATIONS: tuple[Mutation, ...] = (
    # ---- what networks learn -----------------------------------------------------------------------------------------
    Mutation(
        "labels are scaled about 0",
        _BONE_AGE,
        "return (months_b - self.config.target_centre) / self.config.target_scale",
        "return months_b / self.config.target_scale",
        ("tests/train/test_step.py::test_the_loss_is_the_papers",),
    ),
    Mutation(
        "a regression's age loses its centre's sign",
        _BONE_AGE,
        "months = outputs[:, 0] * self.config.target_scale + self.config.target_centre",
        "months = outputs[:, 0] * self.config.target_scale - self.config.target_centre",
        ("tests/tasks/test_bone_age.py",),
    ),
    Mutation(
        "the age of 240 classes is the likeliest, not the expected one",
        _BONE_AGE,
        "months = probability @ _months()",
        "months = jnp.argmax(probability, -1).astype(jnp.float32)",
        ("tests/tasks/test_bone_age.py",),
    ),
    Mutation(
        "the loss is not in units of the scale",
        _BONE_AGE,
        "loss = error / self.config.target_scale",
        "loss = error",
        ("tests/tasks/test_bone_age.py",),
    ),
    Mutation(
        "the error is squared",
        _BONE_AGE,
        'error = jnp.abs(self.ages(outputs)[:, 0] - batch["bone_age"])',
        'error = jnp.square(self.ages(outputs)[:, 0] - batch["bone_age"])',
        ("tests/tasks/test_bone_age.py",),
    ),
    Mutation(
        "soft labels are narrower than asked for",
        _BONE_AGE,
        "jax.nn.softmax(-0.5 * jnp.square((_months()",
        "jax.nn.softmax(-1.0 * jnp.square((_months()",
        ("tests/tasks/test_bone_age.py",),
    ),
    Mutation(
        "the outputs of boys and girls change places",
        "boneage_jax/models/heads.py",
        "return jnp.where(male_b[:, None] > 0.5, male, female)",
        "return jnp.where(male_b[:, None] > 0.5, female, male)",
        ("tests/models/test_vgg.py",),
    ),
    Mutation(
        "the Jaccard index is added to the loss",
        _SEGMENTATION,
        "loss = entropy - self.config.jaccard",
        "loss = entropy + self.config.jaccard",
        ("tests/tasks/test_segmentation.py",),
    ),
    Mutation(
        "IoU counts all that is predicted",
        _SEGMENTATION,
        "jnp.sum(predicted & true, (1, 2))",
        "jnp.sum(predicted, (1, 2))",
        ("tests/tasks/test_segmentation.py",),
    ),
    Mutation(
        "IoU of masks is over one mask",
        "boneage_jax/hand/masks.py",
        "union = np.count_nonzero(one | other)",
        "union = np.count_nonzero(one)",
        ("tests/hand/test_masks.py",),
    ),
    Mutation(
        "soft-argmax counts pixels from 1",
        _LANDMARKS,
        "x, y = columns @ jnp.arange(w, dtype=jnp.float32)",
        "x, y = columns @ jnp.arange(1.0, w + 1, dtype=jnp.float32)",
        ("tests/tasks/test_landmarks.py",),
    ),
    Mutation(
        "key points lie at the corners of the heat map's pixels",
        _LANDMARKS,
        "[points * step + (step - 1) / 2, spread",
        "[points * step, spread",
        ("tests/tasks/test_landmarks.py",),
    ),
    # ---- where the hand lies -----------------------------------------------------------------------------------------
    Mutation(
        "a hand is turned the wrong way",
        "boneage_jax/geometry.py",
        "p[:, 0] * q[:, 1] - p[:, 1] * q[:, 0]",
        "p[:, 1] * q[:, 0] - p[:, 0] * q[:, 1]",
        ("tests/test_geometry.py",),
    ),
    Mutation(
        "scaling moves an image by a part of a pixel",
        "boneage_jax/geometry.py",
        "return cls(a=scale, x=0.5 * scale - 0.5, y=0.5 * scale - 0.5)",
        "return cls(a=scale)",
        ("tests/test_geometry.py::test_scaling_keeps_the_edges",),
    ),
    Mutation(
        "the canvas is mirrored",
        "boneage_jax/canvas.py",
        "mirrored=thumb_side(points) < 0)",
        "mirrored=thumb_side(points) > 0)",
        ("tests/test_geometry.py::test_every_hand_comes_to_the_same_place",),
    ),
    # ---- the order of the data ---------------------------------------------------------------------------------------
    Mutation(
        "all processes read the same part of a batch",
        _PIPELINE,
        "batches[start_step * share.count + share.index :: share.count]",
        "batches[start_step * share.count :: share.count]",
        ("tests/data/test_pipeline.py::test_processes_read_consecutive_slices_of_the_same_batches",),
    ),
    Mutation(
        "several processes resume at another step",
        _PIPELINE,
        "batches[start_step * share.count + share.index ::",
        "batches[start_step + share.index ::",
        ("tests/data/test_pipeline.py::test_processes_read_consecutive_slices_of_the_same_batches",),
    ),
    Mutation(
        "a resumed run begins the data anew",
        "boneage_jax/train/loop.py",
        "start_step=done,",
        "start_step=0,",
        ("tests/train/test_run.py::test_resuming_is_exact_to_the_bit",),
    ),
    Mutation(
        "no epoch is shuffled",
        _PIPELINE,
        ".seed(seed).shuffle()",
        ".seed(seed)",
        ("tests/data/test_pipeline.py::test_each_epoch_reads_every_record_once_in_another_order",),
    ),
    Mutation(
        "padding is evaluated",
        _PIPELINE,
        "n % self._batch_size, float(real))",
        "n % self._batch_size, 1.0)",
        ("tests/data/test_pipeline.py::test_evaluation_counts_every_example_exactly_once",),
    ),
    Mutation(
        "every step draws the same augmentation",
        _AUGMENT,
        "step_key = jax.random.fold_in(jax.random.key(seed), step)",
        "step_key = jax.random.key(seed)",
        ("tests/data/test_augment.py",),
    ),
    Mutation(
        "key points stay where a mirrored image's were",
        _AUGMENT,
        "right, down = mirror * (values[:, 0] - (w - 1) / 2)",
        "right, down = (values[:, 0] - (w - 1) / 2)",
        ("tests/data/test_augment.py",),
    ),
    Mutation(
        "folds part the images of a child",
        "boneage_jax/data/folds.py",
        "child = self.patients.get(image_id, image_id)",
        "child = image_id",
        ("tests/data/test_folds.py",),
    ),
    Mutation(
        "folds are dealt anew in every process",
        "boneage_jax/data/folds.py",
        'int.from_bytes(hashlib.sha256(child.encode()).digest()[:8], "big")',
        "hash(child)",
        ("tests/data/test_folds.py",),
    ),
    Mutation(
        "ages in years are taken for months",
        "boneage_jax/data/labels.py",
        "    return 12 * years",
        "    return years",
        ("tests/data/test_labels.py",),
    ),
    # ---- the training step -------------------------------------------------------------------------------------------
    Mutation(
        "the warm-up is cut off",
        "boneage_jax/runs/optimizer.py",
        "decay], [warmup_steps])",
        "decay], [0])",
        ("tests/train/test_step.py::test_schedules",),
    ),
    Mutation(
        "weight decay shrinks biases",
        "boneage_jax/runs/optimizer.py",
        "p.ndim > 1",
        "p.ndim > 0",
        ("tests/train/test_step.py::test_weight_decay_spares_biases",),
    ),
    Mutation(
        "the moving average remembers the initial weights",
        _STEP,
        "decay = jnp.minimum(config.train.ema, (1.0 + state.step) / (10.0 + state.step))",
        "decay = config.train.ema",
        ("tests/train/test_step.py::test_the_moving_average_is_one",),
    ),
    Mutation(
        "padding is learnt from",
        _STEP,
        'jnp.sum(value * part["mask"]) / count',
        "jnp.sum(value) / count",
        ("tests/train/test_step.py::test_masked_examples_do_not_count",),
    ),
    Mutation(
        "predictions are made without the moving average",
        "boneage_jax/runs/state.py",
        'return self.average or {"params"',
        'return {"params"',
        ("tests/train/test_step.py::test_the_moving_average_is_one",),
    ),
    Mutation(
        "the best mask network is the worst",
        "boneage_jax/tasks/task.py",
        "return -value if self.higher_is_better else value",
        "return value",
        ("tests/tasks/test_segmentation.py::test_the_score_is_intersection_over_union",),
    ),
    # ---- DICOM -------------------------------------------------------------------------------------------------------
    Mutation(
        "the rescale intercept is subtracted",
        _DICOM,
        "return stored * slope + intercept",
        "return stored * slope - intercept",
        ("tests/data/test_dicom.py::test_shown_as_it_asks",),
    ),
    Mutation(
        "a linear window is half a step off",
        _DICOM,
        "np.clip((x - (center - 0.5)) / (width - 1) + 0.5, 0, 1)",
        "np.clip((x - center) / width + 0.5, 0, 1)",
        ("tests/data/test_dicom.py::test_shown_as_it_asks",),
    ),
    Mutation(
        "a lookup table begins one entry late",
        _DICOM,
        "np.round(values.astype(np.float64)) - first, 0",
        "np.round(values.astype(np.float64)) - first + 1, 0",
        ("tests/data/test_dicom.py::test_shown_as_it_asks",),
    ),
    Mutation(
        "MONOCHROME1 is shown with bone dark",
        _DICOM,
        'if photometric == "MONOCHROME1" or str(',
        "if str(",
        ("tests/data/test_dicom.py::test_shown_as_it_asks",),
    ),
    Mutation(
        "padding is shown",
        _DICOM,
        "    grey[~counted] = 0\n",
        "",
        ("tests/data/test_dicom.py::test_shown_as_it_asks",),
    ),
    # ---- what becomes of ages ----------------------------------------------------------------------------------------
    Mutation(
        "an ensemble's weights may be negative",
        _ENSEMBLE,
        "scipy.optimize.nnls(known.T, np.asarray(reading, np.float64))",
        "np.linalg.lstsq(known.T, np.asarray(reading, np.float64), rcond=None)[:2]",
        ("tests/analysis/test_ensemble.py",),
    ),
    Mutation(
        "networks that disagree make no wider spread",
        _ENSEMBLE,
        "return mean, np.sqrt(within + between)",
        "return mean, np.sqrt(within)",
        ("tests/analysis/test_ensemble.py",),
    ),
    Mutation(
        "a bias is added once more",
        _ENSEMBLE,
        "return predicted - (self.slope * predicted + self.intercept)",
        "return predicted + (self.slope * predicted + self.intercept)",
        ("tests/analysis/test_ensemble.py",),
    ),
    Mutation(
        "the quantile of intervals lacks its correction for few hands",
        _CONFORMAL,
        "math.ceil((len(score) + 1) * level)",
        "math.ceil(len(score) * level)",
        ("tests/analysis/test_conformal.py",),
    ),
    Mutation(
        "boys get the line of girls",
        _LOCAL,
        "return np.where(male, of_boys(months), of_girls(months))",
        "return np.where(male, of_girls(months), of_boys(months))",
        ("tests/analysis/test_local_calibration.py",),
    ),
    Mutation(
        "a line's gain is measured on images that it was fitted to",
        _LOCAL,
        "lines(months[~inside], reading[~inside], male[~inside], fewest=fewest)",
        "lines(months, reading, male, fewest=fewest)",
        ("tests/analysis/test_local_calibration.py",),
    ),
    Mutation(
        "standard deviations are those of the next age of the table",
        "boneage_jax/analysis/sd_score.py",
        "return float(np.interp(chronological, ages, deviations))",
        "return float(deviations[np.searchsorted(ages, chronological)])",
        ("tests/analysis/test_sd_score.py",),
    ),
    Mutation(
        "boys are held against girls",
        "boneage_jax/analysis/sd_score.py",
        "ages, deviations = TABLES[male]",
        "ages, deviations = TABLES[not male]",
        ("tests/analysis/test_sd_score.py",),
    ),
    Mutation(
        "intervals of scores are of 90%",
        "boneage_jax/analysis/scores.py",
        "CONFIDENCE = 0.95",
        "CONFIDENCE = 0.9",
        ("tests/analysis/test_scores.py",),
    ),
    Mutation(
        "a stage holds the age at which the next one starts",
        "boneage_jax/anatomy.py",
        "if months < stage.ends[column]",
        "if months <= stage.ends[column]",
        ("tests/test_anatomy.py",),
    ),
    Mutation(
        "signed errors are compared",
        "boneage_jax/analysis/comparison.py",
        "np.abs(np.asarray(error, np.float64)) - np.abs(np.asarray(other, np.float64))",
        "np.asarray(error, np.float64) - np.asarray(other, np.float64)",
        ("tests/analysis/test_ensemble.py",),
    ),
    Mutation(
        "a regression's spread is its mean absolute error",
        "boneage_jax/runs/inference.py",
        "return math.sqrt(2) * loaded.score",
        "return loaded.score",
        ("tests/runs/test_inference.py",),
    ),
    # ---- importance --------------------------------------------------------------------------------------------------
    Mutation(
        "Shapley values weigh all subsets alike",
        "boneage_jax/importance/masking.py",
        "math.factorial(s) * math.factorial(groups - s - 1) / math.factorial(groups) for",
        "0.5 ** (groups - 1) + 0 * s for",
        ("tests/importance/test_methods.py",),
    ),
    Mutation(
        "integrated gradients take each step's left end",
        "boneage_jax/importance/gradients.py",
        "places = (jnp.arange(steps) + 0.5) / steps",
        "places = jnp.arange(steps) / steps",
        ("tests/importance/test_methods.py",),
    ),
    Mutation(
        "integrated gradients start from black",
        "boneage_jax/importance/gradients.py",
        "gradient(baseline + place * (image - baseline))",
        "gradient(place * image)",
        ("tests/importance/test_methods.py",),
    ),
    Mutation(
        "occlusion's sign is turned round",
        "boneage_jax/importance/masking.py",
        "return before[:, None] - after.T",
        "return after.T - before[:, None]",
        ("tests/importance/test_methods.py",),
    ),
    # ---- mining ------------------------------------------------------------------------------------------------------
    Mutation(
        "masks below the threshold are accepted",
        "boneage_jax/workflows/mining/rounds.py",
        "if value >= request.accept and",
        "if value <= request.accept and",
        ("tests/workflows/test_mining_rounds.py",),
    ),
    Mutation(
        "a person's veto is ignored",
        "boneage_jax/workflows/mining/rounds.py",
        "if value >= request.accept and image_id not in vetoed",
        "if value >= request.accept",
        ("tests/workflows/test_mining_rounds.py",),
    ),
    # ---- files -------------------------------------------------------------------------------------------------------
    Mutation(
        "a file is written in its place",
        "boneage_jax/files.py",
        "yield scratch\n",
        "yield path\n",
        ("tests/test_files.py",),
    ),
    Mutation(
        "a file is overwritten instead of replaced",
        "boneage_jax/files.py",
        "scratch.replace(path)",
        "path.write_bytes(scratch.read_bytes())",
        ("tests/test_files.py",),
    ),
    Mutation(
        "texts on pages are not escaped",
        "boneage_jax/page.py",
        "else Markup(html.escape(content))",
        "else Markup(content)",
        ("tests/test_page.py",),
    ),
    Mutation(
        "encrypted entries of zips are read",
        "boneage_jax/data/tree.py",
        "_ENCRYPTED = 0x1",
        "_ENCRYPTED = 0x0",
        ("tests/data/test_tree.py",),
    ),
    Mutation(
        "files of any size are read into memory",
        "boneage_jax/data/tree.py",
        "if stated > MAX_BYTES:",
        "if stated < 0:",
        ("tests/data/test_tree.py",),
    ),
    Mutation(
        "images of any size are decoded",
        "boneage_jax/data/grey.py",
        "if height * width > MAX_PIXELS:",
        "if height * width < 0:",
        ("tests/data/test_images.py",),
    ),
)
"""Of each room those lines on which its answers depend most, and the safety of files."""
