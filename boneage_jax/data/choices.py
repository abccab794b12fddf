"""Words that options of building a dataset may have. Apart, so that the command's help loads no image library."""

from __future__ import annotations

from typing import Literal

Encoding = Literal["png", "jpeg", "raw"]
"""How a dataset stores its images."""

Missing = Literal["error", "skip"]
"""What happens to rows of a table without an image, and to images without a row."""
