"""Forms with radiographs, read from a stream of bytes within limits; nothing is written to a disk."""

from __future__ import annotations

import dataclasses
import math
import pathlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

from boneage_jax.data import decode, images
from boneage_jax.serving.web.problems import MALFORMED, NO_IMAGE, TOO_LARGE, Problem

MOST_FILES = 64
"""Of a form; larger numbers are what `boneage assess` is for."""

MOST_AGE = 1560.0
"""Highest chronological age in months, as of `boneage assess`: 130 years."""

FILE, SEX, MONTHS, YEARS = "file", "sex", "chronological_age", "chronological_years"
"""Names of the form's fields."""

_SEXES = {"": None, "f": False, "female": False, "m": True, "male": True}

_MOST_PARTS = MOST_FILES + 8
_MOST_FIELD = 200
"""Bytes of a field that is no file."""

_OTHER_KINDS = {
    b"PK\x03\x04": "a zip",
    b"PK\x05\x06": "an empty zip",
    b"%PDF": "a PDF",
    b"\x1f\x8b": "a gzip",
    b"GIF8": "a GIF",
    b"Rar!": "a RAR",
    b"7z\xbc\xaf": "a 7z",
    b"<": "a text, HTML or XML",
}
"""What a file that is no image begins with, where people send it by mistake."""


@dataclasses.dataclass(frozen=True)
class Upload:
    """A file of a form.

    Attributes:
      name: its own, without folders; as the sender wrote it.
      data: its content.
    """

    name: str
    data: bytes


@dataclasses.dataclass(frozen=True)
class Submission:
    """Radiographs to read, and what is told of their children.

    Attributes:
      files: one or more, each the beginning of an image at least.
      male: whether the children are boys; None where each file's header counts.
      chronological: age since birth in months; None where each file's header counts.
    """

    files: tuple[Upload, ...]
    male: bool | None
    chronological: float | None


async def read(content_type: str, length: str, stream: AsyncIterator[bytes], *, most_bytes: int) -> Submission:
    """Reads a form of the type multipart/form-data, and no byte more than is allowed.

    Args:
      content_type: of the request.
      length: that it states; empty for none.
      stream: of its body.
      most_bytes: of its body.

    Raises:
      Problem: for all else than a form with images.
    """
    form = _Form(_boundary(content_type))
    if length.isdecimal() and int(length) > most_bytes:
        raise _too_large(most_bytes, f"{int(length) / (1 << 20):.1f} MiB")
    received = 0
    async for part in stream:
        received += len(part)
        if received > most_bytes:
            raise _too_large(most_bytes, "more than that")
        form.take(part)
    form.end()
    return Submission(_images(form.files), _male(form.fields.get(SEX, "")), _age(form.fields))


def _too_large(most_bytes: int, found: str) -> Problem:
    return Problem(
        TOO_LARGE,
        "The request has more bytes than this server takes.",
        found=found,
        expected=f"at most {most_bytes >> 20} MiB, with all files",
        advice="Send fewer files at once, save the image as PNG, or have the server's --max-mebibytes raised.",
    )


def _malformed(detail: str, *, found: str = "", expected: str = "", advice: str = "") -> Problem:
    return Problem(MALFORMED, detail, found=found, expected=expected, advice=advice or "Correct the request.")


def _boundary(content_type: str) -> bytes:
    """The text that parts a form's fields (RFC 7578, 4.1)."""
    from python_multipart.multipart import parse_options_header

    kind, options = parse_options_header(content_type)
    if kind != b"multipart/form-data":
        raise Problem(
            NO_IMAGE,
            "The request is no form.",
            found=kind.decode("ascii", "replace")[:80] or "no Content-Type",
            expected="multipart/form-data",
            advice=f"Send the radiograph as the field {FILE!r} of a form, as in curl -F {FILE}=@hand.png -F {SEX}=F.",
        )
    if not options.get(b"boundary"):
        raise _malformed("The form's Content-Type names no boundary.", found=content_type[:80], expected="boundary=...")
    return options[b"boundary"]


class _Form:
    """A form that comes in part by part."""

    def __init__(self, boundary: bytes):
        from python_multipart.exceptions import FormParserError
        from python_multipart.multipart import MultipartParser

        self.fields: dict[str, str] = {}
        self.files: list[Upload] = []
        self._parts, self._whole = 0, False
        self._header, self._value, self._headers = bytearray(), bytearray(), dict[str, bytes]()
        self._name, self._content = "", bytearray()
        self._file: str | None = None
        self._error: type[Exception] = FormParserError
        callbacks: dict[str, Any] = {
            "on_part_begin": self._on_part_begin,
            "on_header_field": lambda data, start, end: self._header.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
            "on_header_end": self._on_header_end,
            "on_headers_finished": self._on_headers_finished,
            "on_part_data": self._on_part_data,
            "on_part_end": self._on_part_end,
            "on_end": self._on_end,
        }
        try:
            self._parser = MultipartParser(boundary, callbacks)  # type: ignore[arg-type]
        except FormParserError as error:
            raise _malformed("The form's boundary cannot be used.", expected="at most 70 characters") from error

    def take(self, data: bytes) -> None:
        """Takes the next bytes. Raises `Problem`."""
        try:
            self._parser.write(data)
        except self._error as error:
            raise _malformed(
                "The form's parts cannot be told apart.",
                found="bytes that are no multipart/form-data (RFC 7578)",
                expected="parts between lines of the boundary that Content-Type names",
            ) from error

    def end(self) -> None:
        """Says that no bytes follow. Raises `Problem` where some are missing."""
        if not self._whole:
            raise _malformed(
                "The form ends before its last boundary.", found="a part of a request", advice="Send it again, whole."
            )

    def _on_part_begin(self) -> None:
        self._parts += 1
        if self._parts > _MOST_PARTS:
            raise _malformed("The form has too many fields.", expected=f"at most {MOST_FILES} files")
        self._headers, self._content = {}, bytearray()

    def _on_header_end(self) -> None:
        self._headers[self._header.decode("latin1").lower()] = bytes(self._value)
        self._header, self._value = bytearray(), bytearray()

    def _on_headers_finished(self) -> None:
        from python_multipart.multipart import parse_options_header

        kind, options = parse_options_header(self._headers.get("content-disposition", b""))
        if kind != b"form-data" or b"name" not in options:
            raise _malformed("A field of the form has no name.", expected="Content-Disposition: form-data; name=...")
        self._name = options[b"name"].decode("utf-8", "replace")
        file = options.get(b"filename")
        self._file = None if file is None else _own_name(file.decode("utf-8", "replace"))
        expected = f"{FILE} for radiographs, and {SEX}, {MONTHS}, {YEARS}"
        if self._file is not None and self._name != FILE:
            raise _malformed(
                "A file has another field than that of radiographs.", found=_short(self._name), expected=expected
            )
        if self._file is None and self._name not in (SEX, MONTHS, YEARS):
            missing = " without filename=" if self._name == FILE else ""
            raise _malformed("A field is not known.", found=_short(self._name) + missing, expected=expected)
        if self._name in self.fields:
            raise _malformed(
                "A field stands twice.", found=self._name, expected="each once; files alone may be several"
            )

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        self._content += data[start:end]
        if self._file is None and len(self._content) > _MOST_FIELD:
            raise _malformed("A field is too long.", found=self._name, expected=f"at most {_MOST_FIELD} bytes")

    def _on_part_end(self) -> None:
        if self._file is None:
            self.fields[self._name] = self._content.decode("utf-8", "replace").strip()
        elif self._file or self._content:  # browsers send an empty file where none was chosen
            if len(self.files) == MOST_FILES:
                raise _malformed("The form has too many files.", expected=f"at most {MOST_FILES}")
            self.files.append(Upload(self._file or "radiograph", bytes(self._content)))
        self._content = bytearray()

    def _on_end(self) -> None:
        self._whole = True


def _own_name(name: str) -> str:
    """A file's name without the folders that some browsers send."""
    return pathlib.PureWindowsPath(name.replace("\0", "")).name[:255]


def _short(text: str) -> str:
    return repr(text[:40])


def _images(files: list[Upload]) -> tuple[Upload, ...]:
    """The files, each of which begins as an image does."""
    if not files:
        raise _malformed(
            "The form has no radiograph.", expected=f"one file or more, as the field {FILE!r}", advice="Choose a file."
        )
    for one in files:
        if not decode.kind_of(one.data[: images.HEAD_BYTES]):
            kinds = (kind for start, kind in _OTHER_KINDS.items() if one.data.startswith(start))
            found = next(kinds, "a file of another kind" if one.data else "an empty file")
            raise Problem(
                NO_IMAGE,
                "A file is no image.",
                found=found,
                expected=images.FORMATS,
                advice="Unpack it, and send the images." if "zip" in found else "Save the radiograph as one of these.",
                files=[{"file": one.name, "problem": f"{found}, expected {images.FORMATS}"}],
            )
    return tuple(files)


def _male(text: str) -> bool | None:
    try:
        return _SEXES[text.lower()]
    except KeyError as error:
        raise _malformed("The sex cannot be understood.", found=_short(text), expected="F, M, or nothing") from error


def _age(fields: Mapping[str, str]) -> float | None:
    """The chronological age in months; years and months add up."""
    texts = [(fields.get(YEARS, ""), 12.0), (fields.get(MONTHS, ""), 1.0)]
    if not any(text for text, _ in texts):
        return None
    try:
        age = sum(float(text) * months for text, months in texts if text)
        negative = any(float(text) < 0 for text, _ in texts if text)
    except ValueError:
        age, negative = math.nan, False
    if not 0 <= age <= MOST_AGE or negative:  # false for NaN too
        raise _malformed(
            "The chronological age cannot be understood.",
            found=", ".join(_short(text) for text, _ in texts if text),
            expected=f"numbers; {MONTHS} in months, 0 to {MOST_AGE:.0f}, in addition to {YEARS} where these are given",
        )
    return age
