"""Tables as CSV, Markdown and LaTeX."""

from __future__ import annotations

import csv
import dataclasses
import io
import pathlib

from boneage_jax.files import write_text


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of texts.

    Attributes:
      name: of its files.
      caption: what it shows, and of which images.
      head: of the columns.
      rows: cells.
    """

    name: str
    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def as_csv(self) -> str:
        """Returns it as CSV."""
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([self.head, *self.rows])
        return text.getvalue()

    def as_markdown(self) -> str:
        """Returns it as a Markdown table under its caption."""

        def line(cells: tuple[str, ...]) -> str:
            return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

        rule = "| " + " | ".join(["---", *["---:"] * (len(self.head) - 1)]) + " |"
        return "\n".join([self.caption, "", line(self.head), rule, *map(line, self.rows)]) + "\n"

    def as_latex(self) -> str:
        """Returns it as a LaTeX `table` for the package booktabs."""

        def line(cells: tuple[str, ...]) -> str:
            return " & ".join(map(_escaped, cells)) + r" \\"

        return "\n".join(
            [
                r"\begin{table}",
                rf"\caption{{{_escaped(self.caption)}}}",
                rf"\begin{{tabular}}{{l{'r' * (len(self.head) - 1)}}}",
                r"\toprule",
                line(self.head),
                r"\midrule",
                *map(line, self.rows),
                r"\bottomrule",
                r"\end{tabular}",
                r"\end{table}",
                "",
            ]
        )

    def write(self, folder: pathlib.Path) -> None:
        """Writes NAME.csv, NAME.md and NAME.tex. Raises `UserError` for a folder that cannot be written."""
        for ending, text in (("csv", self.as_csv()), ("md", self.as_markdown()), ("tex", self.as_latex())):
            write_text(folder / f"{self.name}.{ending}", text)


_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"$<$", ">": r"$>$",
}  # fmt: skip


def _escaped(text: str) -> str:
    return "".join(_LATEX.get(letter, letter) for letter in text)
