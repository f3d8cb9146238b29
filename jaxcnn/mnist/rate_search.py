"""A learning rate for a recipe and a network, by a range test (Smith 2017, arXiv:1506.01186).

The rate rises by a constant factor from one step to the next, from far too low to far too high, and
the loss of each step's batch is watched: it falls, is lowest, and rises again. A tenth of the rate
at which it was lowest is a good peak for a schedule, or a constant rate.
"""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np

from .._errors import CommandError
from .data.sources import Dataset
from .recipe import RECIPES
from .run import programs
from .run.configuration import Configuration
from .step import make_chunk

RATES = np.geomspace(1e-5, 1.0, 151)
# Of a loss in the mean of those before it; and how many times the least ends the search.
_KEPT, _TOO_HIGH = 0.9, 4.0


@dataclass(frozen=True)
class Search:
    """What a search saw.

    Attributes:
        rates: the learning rate of each step.
        losses: the loss of each step's batch, in an exponential mean with those before.
    """

    rates: np.ndarray
    losses: np.ndarray

    @property
    def lowest(self) -> float:
        """The rate at which the loss was lowest."""
        return float(self.rates[self.losses.argmin()])

    @property
    def suggestion(self) -> float:
        """A tenth of it, to two digits."""
        return float(f"{self.lowest / 10:.1e}")

    def __str__(self) -> str:
        """A table of some of the steps, and the suggestion."""
        rows = range(0, len(self.rates), 10)
        return "\n".join(
            [
                "learning rate     loss",
                *(f"{self.rates[i]:>13.1e} {self.losses[i]:>8.4f}" for i in rows),
                f"The loss was lowest at {self.lowest:.1e}: try --learning-rate"
                f" {self.suggestion:g}",
            ]
        )


def search(configuration: Configuration, dataset: Dataset) -> Search:
    """Train for as many steps as there are rates, or until the loss has risen too high.

    Args:
        configuration: of the run that the rate is for; its own rate and steps do not matter.
        dataset: to train on.

    Raises:
        CommandError: the loss is infinite or NaN from the start.
    """
    configuration = replace(configuration, steps=len(RATES))
    schedule = programs.new_schedule(configuration, dataset)
    recipe = RECIPES[configuration.recipe]
    optimizer = recipe.optimizer(
        lambda step: jnp.asarray(RATES, jnp.float32)[step],
        configuration.steps,
        configuration.batch_size,
    )
    chunk = jax.jit(make_chunk(programs.new_step(configuration, optimizer)), donate_argnums=0)
    state = jax.jit(lambda seed: programs.new_state(configuration, seed, optimizer))(
        np.uint32(configuration.seed)
    )
    images, labels = jnp.asarray(dataset.train_images), jnp.asarray(dataset.train_labels)
    means: list[float] = []
    mean = 0.0
    while len(means) < len(RATES):
        step = len(means)
        end = min(step + schedule.chunk, len(RATES))
        state, metrics = chunk(state, images, labels, schedule.batches(step, end), end - step)
        for loss in np.asarray(metrics["loss"], np.float64)[: end - step]:
            mean = _KEPT * mean + (1 - _KEPT) * loss
            # As Adam's means: without the zero that it began from.
            corrected = mean / (1 - _KEPT ** (len(means) + 1))
            if not corrected <= _TOO_HIGH * min(means, default=np.inf):
                if not means:
                    raise CommandError("the loss is infinite or NaN before any training.")
                return Search(RATES[: len(means)], np.array(means))
            means.append(corrected)
    return Search(RATES, np.array(means))
