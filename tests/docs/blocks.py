"""Fenced blocks of Markdown files, their marks, and the commands in them."""

from __future__ import annotations

import dataclasses
import pathlib
import re
import shlex

ROOT = pathlib.Path(__file__).parents[2]

PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "tfds_builder").glob("*/README.md"),
        *(ROOT / "benchmarks").glob("*.md"),
        ROOT / "launch" / "README.md",
    ]
)
"""Every page of the documentation."""

RUN, PARSE_ONLY = "run", "parse only"

_MARK = re.compile(r"<!--\s*(run|parse only)\s*(?::\s*(.*?))?\s*-->")
_FENCE = re.compile(r"^(\s*)(`{3,})\s*(\w*)\s*$")


@dataclasses.dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
      page: file that it stands in.
      line: of its fence, from 1.
      language: as named at the fence; empty where none is.
      mark: `run` or `parse only`, of the comment right before it; empty where there is none.
      reason: what the mark adds: why it is not run, or with what.
      text: of the block.
    """

    page: pathlib.Path
    line: int
    language: str
    mark: str
    reason: str
    text: str

    @property
    def place(self) -> str:
        """As in `README.md:12`."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks_of(page: pathlib.Path) -> list[Block]:
    """Returns the fenced blocks of a page, in order."""
    lines = page.read_text(encoding="utf-8").splitlines()
    found = []
    before = ""  # the last line that is not empty
    n = 0
    while n < len(lines):
        fence = _FENCE.match(lines[n])
        if not fence:
            before = lines[n] if lines[n].strip() else before
            n += 1
            continue
        end = next(i for i in range(n + 1, len(lines)) if lines[i].strip() == fence[2])
        mark = _MARK.fullmatch(before.strip())
        text = "\n".join(line.removeprefix(fence[1]) for line in lines[n + 1 : end])
        found.append(Block(page, n + 1, fence[3], mark[1] if mark else "", (mark[2] or "") if mark else "", text))
        before, n = "", end + 1
    return found


def commands_of(text: str) -> list[list[str]]:
    """Returns the simple commands of a shell script as lists of words, loops unrolled, in order.

    Understood is what the documentation needs: comments, line continuations, `;`, `&&`, pipes, redirections, variables
    before a command, and `for NAME in WORDS; do ... done`.

    Raises:
      ValueError: for quotes that do not end, and loops that do not.
    """
    logical = text.replace("\\\n", " ").splitlines()
    statements: list[list[str]] = []
    for line in logical:
        lexer = shlex.shlex(line, posix=True, punctuation_chars=";&|<>")
        lexer.whitespace_split = True
        lexer.commenters = "#"
        words: list[str] = []
        for word in lexer:
            if set(word) <= set(";&|"):
                statements.append(words)
                words = []
            else:
                words.append(word)
        statements.append(words)
    return [_bare(words) for words in _unrolled([s for s in statements if s]) if _bare(words)]


def _unrolled(statements: list[list[str]]) -> list[list[str]]:
    """Statements with the bodies of loops as often as they are run, their variable replaced."""
    done = []
    n = 0
    while n < len(statements):
        words = statements[n]
        if words[0] != "for":
            done.append(words)
            n += 1
            continue
        name, values = words[1], words[3:]
        try:
            end = next(i for i in range(n, len(statements)) if statements[i] == ["done"])
        except StopIteration as error:
            raise ValueError("a loop without done") from error
        body = [s[1:] if s[0] == "do" else s for s in statements[n + 1 : end]]
        done += [
            [re.sub(rf"\${name}\b", value, word) for word in statement]
            for value in values
            for statement in body
            if statement
        ]
        n = end + 1
    return done


def _bare(words: list[str]) -> list[str]:
    """A command without redirections, and without the variables that are set for it."""
    kept = []
    skip = False
    for word in words:
        if skip:
            skip = False
        elif set(word) <= set("<>"):
            skip = True
            if kept and kept[-1].isdigit():
                kept.pop()
        elif kept or not re.fullmatch(r"[A-Z_]+=.*", word):
            kept.append(word)
    return kept


def sessions_of(text: str) -> str:
    """Returns what is typed in a block that shows a session: the lines after a `$`."""
    return "\n".join(line[2:] for line in text.splitlines() if line.startswith("$ "))
