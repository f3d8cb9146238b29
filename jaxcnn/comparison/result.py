"""The result of `compare`: printed, shown in a notebook, plotted, or taken apart."""

from dataclasses import dataclass
from typing import Any

from .._extras import missing
from .leaf import LeafComparison
from .table import Table


@dataclass(frozen=True)
class Comparison:
    """The result of `compare`: `print` it, show it in a notebook, or `plot` it.

    Attributes:
        name: the function that was compared.
        against: what its gradient was compared with, in words.
        backend, dtype: where and in which dtypes it ran.
        leaves: one `LeafComparison` for every differentiable leaf.
        failures: what is wrong with the function as a whole, such as values unlike the reference's.
        notes: what else there is to know.
    """

    name: str
    against: str
    backend: str
    dtype: str
    leaves: tuple[LeafComparison, ...]
    failures: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether every gradient matches."""
        return not self.failures and all(leaf.ok for leaf in self.leaves)

    def __getitem__(self, path: str) -> LeafComparison:
        """The leaf with that path."""
        for leaf in self.leaves:
            if leaf.path == path:
                return leaf
        raise KeyError(f"no leaf {path!r}: there are {[leaf.path for leaf in self.leaves]}")

    def __str__(self) -> str:
        """A table for a terminal."""
        return self._table().text()

    def _repr_html_(self) -> str:
        return self._table().html()

    def _table(self) -> Table:
        title = f"{self.name} on {self.backend}: its gradient compared with {self.against}"
        return Table(title, self.leaves, self.failures, self.notes)

    def as_dict(self) -> dict[str, Any]:
        """The result without its arrays, ready for JSON."""
        return {
            "name": self.name,
            "against": self.against,
            "backend": self.backend,
            "dtype": self.dtype,
            "ok": self.ok,
            "failures": self.failures,
            "notes": self.notes,
            "leaves": [leaf.as_dict() for leaf in self.leaves],
        }

    def plot(self, path: str | None = None) -> Any:
        """Pictures, leaf by leaf: gradient, automatic and their difference on one colour scale.

        Where there is no automatic gradient the central differences take its place, if they were
        taken in every element. A leaf of more than two axes is cut into tiles. A circle marks the
        largest error of a leaf that is wrong.

        Args:
            path: one leaf alone; all of them by default.

        Returns:
            A matplotlib Figure (matplotlib is in the `train` extra).

        Raises:
            KeyError: there is no leaf of that path.
            ImportError: Matplotlib is not installed; names the extra.
        """
        leaves = self.leaves if path is None else (self[path],)
        try:
            from .picture import picture
        except ModuleNotFoundError as error:
            if (message := missing(error, "plot()")) is None:
                raise
            raise ImportError(message) from None
        return picture(leaves, self.name)
