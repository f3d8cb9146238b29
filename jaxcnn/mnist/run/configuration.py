"""What determines a run: every choice made, as numbers and names that JSON holds."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..._errors import CommandError
from .. import description


@dataclass(frozen=True)
class Configuration:
    """A run, up to the machine that makes it. Same configuration, same machine: same parameters.

    Attributes:
        dataset: "mnist", "fashion_mnist" or "digits".
        model: "post", "wide", or a network in the words of `description.canonical`.
        recipe: "post", "fast", "small" or "best".
        layers: whose gradients: "jaxcnn" (by hand) or "reference" (left to autodiff).
        steps: updates in all.
        batch_size: examples a step, over all devices together.
        learning_rate: constant, or the peak of the recipe's schedule.
        seed: of the initial weights, the order of the examples and the augmentation.
        dtype: what the network computes in: "float32", "bfloat16" (its parameters, sums and updates
            stay float32) or "float64" (everything, under `JAX_ENABLE_X64`).
    """

    dataset: str
    model: str
    recipe: str
    layers: str
    steps: int
    batch_size: int
    learning_rate: float
    seed: int
    dtype: str = "float32"

    def to_json(self) -> dict[str, Any]:
        """The fields by name."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, fields: Mapping[str, Any], source: object) -> "Configuration":
        """The configuration that `to_json` wrote.

        Raises:
            CommandError: the fields are not those of a configuration; names `source`.
        """
        names = {field.name for field in dataclasses.fields(cls)}
        if isinstance(fields, Mapping) and "float64" in fields:  # how it was called before
            wide = {True: "float64", False: "float32"}.get(fields["float64"])
            fields = {k: v for k, v in fields.items() if k != "float64"} | {"dtype": wide}
        if not isinstance(fields, Mapping) or set(fields) != names:
            raise CommandError(
                f"{source} does not hold the configuration of a jaxcnn run of this version:"
                " start a new run in another folder."
            )
        try:
            description.read(fields["model"])
        except (AttributeError, TypeError, ValueError) as error:
            raise CommandError(f"{source} is damaged: {error}.") from None
        return cls(**fields)


# What may change when a run goes on: how far, and how fast.
_MAY_CHANGE = ("steps", "learning_rate")


def difference(one: Configuration, other: Configuration) -> str:
    """In words, the first field that shows the two to be of different runs; empty if none does."""
    for name, value in one.to_json().items():
        if name not in _MAY_CHANGE and value != (new := other.to_json()[name]):
            return f"its {name} is {value}, not {new}"
    return ""
