"""Options of `boneage serve dicom`. They stand apart from the node: a command's help needs only what is here."""

from __future__ import annotations

import dataclasses
import pathlib
import re

from boneage_jax.options import names, option
from boneage_jax.workflows.requests import AssessRequest

NETWORK_OPTIONS = (
    *("bundle", "runs", "step", "segmentation", "landmarks", "thresholds", "age_calibration", "intervals", "views"),
    "force",
)
"""Those of `AssessRequest` that a node has too; what it reads is sent to it."""


def ae_title(text: str) -> str:
    """Reads the name of an application entity (VR AE, PS3.5 6.2). Raises `ValueError` for other texts."""
    if not re.fullmatch(r"[ -\[\]-~]{1,16}", text) or not text.strip():
        raise ValueError("an AE title: 1 to 16 letters of ASCII, no backslash, not spaces alone")
    return text.strip()


def _ae_titles(text: str) -> tuple[str, ...]:
    """Reads AE titles with commas between. Raises `ValueError` for other texts."""
    found = tuple(map(ae_title, names(text)))
    if not found:
        raise ValueError("AE titles, as in ARCHIVE,CR_ROOM_2")
    return found


def _terms(text: str) -> tuple[str, ...]:
    """Reads coded terms with commas between, which DICOM has in capitals."""
    return tuple(term.upper() for term in names(text))


def _pattern(text: str) -> re.Pattern[str]:
    """Reads a regular expression, which takes capitals and small letters alike. Raises `ValueError` for others."""
    try:
        return re.compile(text, re.IGNORECASE)
    except re.error as error:
        raise ValueError(f"a regular expression of Python ({error})") from error


@dataclasses.dataclass(frozen=True)
class Peer:
    """An application entity elsewhere.

    Attributes:
      host: name or address.
      port: that it listens on.
      title: its AE title.
    """

    host: str
    port: int
    title: str

    @classmethod
    def parse(cls, text: str) -> Peer:
        """Reads HOST:PORT:AETITLE, an address of IPv6 in brackets. Raises `ValueError` for other texts."""
        match = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[^:\s\[\]]+):([0-9]{1,5}):([^:]+)", text)
        if not match or not 0 < int(match[2]) < 65536:
            raise ValueError("HOST:PORT:AETITLE, as in archive.example:11112:ARCHIVE")
        return cls(match[1].strip("[]"), int(match[2]), ae_title(match[3]))


@dataclasses.dataclass(frozen=True)
class NodeRequest:
    """What a DICOM node takes, and where its answers go.

    Attributes:
      networks: that read the radiographs.
    """

    answer_to: Peer = option(
        help="node that structured reports and pictures are sent to", flag="--to", metavar="HOST:PORT:AETITLE"
    )
    _: dataclasses.KW_ONLY
    networks: AssessRequest = AssessRequest((), batch_size=1)
    host: str = option("127.0.0.1", "address to listen on; the default is reached from this machine alone")
    port: int = option(11112, "port to listen on, 0 for any that is free", low=0, high=65535)
    title: str = option("BONEAGE", "AE title of this node", flag="--aet", parse=ae_title)
    allow: tuple[str, ...] = option(
        (), "AE titles that may send, as in ARCHIVE,CR_ROOM_2", flag="--allow-ae", parse=_ae_titles, default_text="all"
    )
    modalities: tuple[str, ...] = option(
        (), "read those of these Modality terms alone, as in CR,DX", flag="--modality", parse=_terms, default_text="all"
    )
    body_parts: tuple[str, ...] = option(
        (),
        "read those of these BodyPartExamined terms alone, as in HAND,WRIST",
        flag="--body-part",
        parse=_terms,
        default_text="all",
    )
    study: re.Pattern[str] | None = option(
        None, "read those alone whose StudyDescription this regular expression is found in", parse=_pattern
    )
    series: re.Pattern[str] | None = option(
        None, "read those alone whose SeriesDescription this regular expression is found in", parse=_pattern
    )
    queue: int = option(16, "radiographs that wait to be read; more are refused, as out of resources", low=1)
    most_megabytes: int = option(128, "largest radiograph, in megabytes as sent and uncompressed", low=1)
    most_megapixels: int = option(60, "largest radiograph, in millions of pixels", low=1, high=200)
    attempts: int = option(8, "times that an answer is sent before it counts as undeliverable", low=1)
    pause: float = option(1.0, "between the first two attempts; doubled each time, up to 60", above=0, unit="seconds")
    keep: pathlib.Path | None = option(None, "folder to keep what was received", default_text="nothing is kept")
    spool: pathlib.Path | None = option(
        None, "folder for answers that cannot be delivered, in undelivered/", default_text="they are lost, and counted"
    )
