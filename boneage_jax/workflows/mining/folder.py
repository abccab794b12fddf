"""The folder of a mining: where its files lie, and what people may put there between rounds.

A mining is laid out so:

    FOLDER/mining.json       settings that may not change from one start to the next
    FOLDER/labels/           masks that were given, by image id, without those held out
    FOLDER/held_out/         a tenth of the given masks: they judge the rounds and are never trained on
    FOLDER/veto.txt          ids of images whose masks are never accepted, one a line
    FOLDER/corrections/      masks drawn by people between rounds, by image id
    FOLDER/rounds/N/         one folder for each round: see `RoundFolder`
    FOLDER/curve.json        the result of each round
    FOLDER/reference.json    the result of a network that was trained on all masks, where one was asked for
"""

from __future__ import annotations

import csv
import dataclasses
import json
import pathlib
from collections.abc import Iterable, Mapping

from boneage_jax.errors import UserError, reason
from boneage_jax.files import check_writable, replacing, write_text
from boneage_jax.hand.masks import Mask


def masks_in(folder: pathlib.Path) -> dict[str, pathlib.Path]:
    """Returns the mask files of a folder by the ids of their images; an id may contain folders."""
    return {path.relative_to(folder).as_posix().removesuffix(".png"): path for path in folder.rglob("*.png")}


@dataclasses.dataclass(frozen=True)
class RoundFolder:
    """The folder of one round.

    Attributes:
      path: of the folder.
    """

    path: pathlib.Path

    @property
    def run(self) -> pathlib.Path:
        """The run of its network."""
        return self.path / "run"

    @property
    def trained_on(self) -> pathlib.Path:
        """Masks that its network is trained on."""
        return self.path / "train"

    @property
    def by_hand(self) -> pathlib.Path:
        """Those of them that people drew."""
        return self.path / "by_hand"

    @property
    def predicted(self) -> pathlib.Path:
        """Masks that its network predicts."""
        return self.path / "masks"

    @property
    def page(self) -> pathlib.Path:
        """Its page for people."""
        return self.path / "round.html"

    @property
    def is_scored(self) -> bool:
        """Whether its predicted masks have been scored; no, where the file of scores is damaged or cut short."""
        try:
            return bool(self.scores()) and self._scores_file.read_bytes().endswith(b"\n")
        except (FileNotFoundError, ValueError, KeyError, TypeError, csv.Error):
            return False

    @property
    def _scores_file(self) -> pathlib.Path:
        return self.path / "scores.csv"

    def scores(self) -> dict[str, float]:
        """Returns the score of each predicted mask by image id, 0 to 1."""
        with self._scores_file.open(newline="") as file:
            return {row["id"]: float(row["score"]) for row in csv.DictReader(file)}

    def write_scores(self, scored: Iterable[tuple[str, float, Mask]]) -> None:
        """Writes ids, scores and what they were made of, lowest scores first; the file appears whole or not at all."""
        rows = [(one, (score, mask.agreement, mask.second, mask.border, mask.area)) for one, score, mask in scored]
        with replacing(self._scores_file) as scratch, scratch.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["id", "score", "agreement", "second", "border", "area"])
            for image_id, numbers in sorted(rows, key=lambda row: (row[1][0], row[0])):
                writer.writerow([image_id, *(f"{number:.5f}" for number in numbers)])


@dataclasses.dataclass(frozen=True)
class MiningFolder:
    """The folder of a mining.

    Attributes:
      path: of the folder.
    """

    path: pathlib.Path

    @property
    def labels(self) -> pathlib.Path:
        """Masks that were given, without those held out."""
        return self.path / "labels"

    @property
    def held_out(self) -> pathlib.Path:
        """Masks that were given and judge the rounds."""
        return self.path / "held_out"

    @property
    def corrections(self) -> pathlib.Path:
        """Masks drawn by people between rounds."""
        return self.path / "corrections"

    @property
    def labels_done(self) -> pathlib.Path:
        """A file that is there once all given masks are written."""
        return self.path / "labels.done"

    @property
    def veto(self) -> pathlib.Path:
        """The file of forbidden ids."""
        return self.path / "veto.txt"

    @property
    def curve(self) -> pathlib.Path:
        """The file of the rounds' results."""
        return self.path / "curve.json"

    @property
    def reference(self) -> pathlib.Path:
        """The run of the network that is trained on all masks of the dataset."""
        return self.path / "reference" / "run"

    @property
    def reference_result(self) -> pathlib.Path:
        """The file of that network's result."""
        return self.path / "reference.json"

    def round(self, number: int) -> RoundFolder:
        """Returns the folder of a round, counted from 0."""
        return RoundFolder(self.path / "rounds" / str(number))

    def vetoed(self) -> set[str]:
        """Returns the ids in `veto.txt`: one a line; text after a `#` is a comment."""
        lines = self.veto.read_text().splitlines() if self.veto.exists() else []
        return {line.split("#")[0].strip() for line in lines} - {""}

    def claim(self, settings: Mapping[str, object]) -> None:
        """Makes the folder this mining's, or checks that it is.

        Args:
          settings: JSON values that must be the same at each start.

        Raises:
          UserError: for a folder that cannot be written or holds a mining with other settings.
        """
        check_writable(self.path)
        path = self.path / "mining.json"
        if not path.exists():
            write_text(path, json.dumps(dict(settings), indent=2) + "\n")
            return
        # Folders of versions without `correct` corrected nothing, those without `pool` mined all images.
        try:
            stored = {"correct": 0, "pool": 0} | json.loads(path.read_text())
        except (ValueError, TypeError) as error:
            raise UserError(
                f"{path}: damaged, not what was written there ({reason(error)}); restore the file from a copy, or "
                "remove it where the command is still the one that this mining began with"
            ) from error
        differing = [
            f"{key}: found {stored.get(key)!r} there, {value!r} here"
            for key, value in settings.items()
            if stored.get(key) != value
        ]
        if differing:
            raise UserError(f"{self.path}: holds another mining ({'; '.join(differing)}); choose another --out")
