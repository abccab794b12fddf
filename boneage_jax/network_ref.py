"""How a trained network is named: a run's folder, a bundle's file, a member of a bundle, the bundle that is shipped."""

from __future__ import annotations

import dataclasses
import os
import pathlib

from boneage_jax import resources
from boneage_jax.files import local
from boneage_jax.resources import SHIPPED


@dataclasses.dataclass(frozen=True)
class NetworkRef:
    """A trained network, by its place.

    `str` of it is a text that `parse` reads as the same network.

    Attributes:
      path: of a run's folder or of a bundle's file; None for a bundle that is shipped.
      member: name of the network in a bundle; empty where none is named.
      bundle: name of the bundle that is shipped, see `resources.shipped_bundles`; empty for the one that is used where
        none is named, and where there is a path.
    """

    path: pathlib.Path | None
    member: str = ""
    bundle: str = ""

    @classmethod
    def parse(cls, text: str) -> NetworkRef:
        """Reads `FOLDER`, `FILE`, `FILE:MEMBER`; `shipped` or a shipped bundle's name, with or without `:MEMBER`.

        What exists under the whole text is that, be there a colon in its name or not. Nothing else is looked for here:
        a folder or file that is not there is found missing where the network is loaded.

        Args:
          text: as it was typed.

        Raises:
          UserError: for an address, as in gs://bucket/run.
        """
        path = local(text)
        if _expanded(path).exists():
            return cls(path)
        file, colon, member = text.partition(":")
        if resources.is_shipped(file):
            return cls(None, member, "" if file == SHIPPED else file)
        if colon and _expanded(pathlib.Path(file)).is_file():
            return cls(pathlib.Path(file), member)
        return cls(path)

    @classmethod
    def of(cls, place: NetworkRef | str | os.PathLike[str]) -> NetworkRef:
        """Returns a reference as it is, a text or path as `parse` reads it. Raises `UserError` as that does."""
        return place if isinstance(place, NetworkRef) else cls.parse(os.fspath(place))

    @property
    def place(self) -> pathlib.Path:
        """The folder or file, with `~` and `shipped` resolved."""
        return resources.shipped_bundle(self.bundle) if self.path is None else _expanded(self.path)

    def __str__(self) -> str:
        if self.path is None:
            place = self.bundle or SHIPPED
        else:
            place = str(self.path)
            # A folder of one's own that is called so: "shipped" alone would be the bundle's.
            place = f"./{place}" if resources.is_shipped(place.partition(":")[0]) else place
        return f"{place}:{self.member}" if self.member else place


def _expanded(path: pathlib.Path) -> pathlib.Path:
    """Returns a path with its `~` or `~user` as that user's home folder; as it is where there is no such user."""
    try:
        return path.expanduser()
    except RuntimeError:
        return path
