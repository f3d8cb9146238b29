"""Which examples a step sees, and where a run pauses: integers that depend on the place alone."""

from dataclasses import dataclass

import numpy as np

# A checkpoint takes as long as 20 steps or so.
_STEPS_WORTH_SAVING = 200


@dataclass(frozen=True)
class Schedule:
    """The places of a run.

    Attributes:
        examples: in the training set.
        batch_size: examples a step. What is left of an epoch after its last whole batch is not
            seen in that epoch.
        steps: updates in all.
        seed: of the order of the examples.
        chunk: the most steps between two looks at the outside world.
        shuffle_once: keep the first epoch's order in all epochs.
        evaluate_every: evaluate after updates 1, 1 + n, 1 + 2n..., as the post does; None for
            after every epoch. The last update is always followed by an evaluation.
        save_every: steps from one checkpoint to the next; None for every epoch, or every few
            where epochs are short.
    """

    examples: int
    batch_size: int
    steps: int
    seed: int
    chunk: int = 50
    shuffle_once: bool = False
    evaluate_every: int | None = None
    save_every: int | None = None

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches in the training set."""
        return self.examples // self.batch_size

    def epoch(self, step: int) -> int:
        """The number, from 1, of the epoch that the update before `step` belongs to."""
        return max(1, -(-step // self.steps_per_epoch))

    def position(self, step: int) -> int:
        """How many batches of the epoch that is under way after `step` updates are done."""
        return step % self.steps_per_epoch

    def evaluates(self, step: int) -> bool:
        """Whether an evaluation follows the update that makes `step`."""
        every = self.evaluate_every
        due = self.position(step) == 0 if every is None else (step - 1) % every == 0
        return step > 0 and (due or step == self.steps)

    def saves(self, step: int) -> bool:
        """Whether a checkpoint follows the update that makes `step`."""
        every = self.save_every or -(-_STEPS_WORTH_SAVING // self.steps_per_epoch) * (
            self.steps_per_epoch
        )
        return step > 0 and (step % every == 0 or step == self.steps)

    def next_pause(self, step: int) -> int:
        """The end of the chunk that begins after `step` updates."""
        last = min(step + self.chunk, self.steps)
        for pause in range(step + 1, last):
            if self.evaluates(pause) or self.saves(pause):
                return pause
        return last

    def order(self, epoch: int) -> np.ndarray:
        """The order of the examples in an epoch counted from 0; the seed and the epoch fix it."""
        # NumPy, where a JAX permutation would cost the start another compilation.
        epoch = 0 if self.shuffle_once else epoch
        return np.random.default_rng((self.seed, epoch)).permutation(self.examples)

    def batches(self, step: int, end: int) -> np.ndarray:
        """The examples of the updates from `step` to `end`: int32 `[chunk, batch_size]`.

        Rows from `end - step` on are zero, and mean nothing.
        """
        rows = np.zeros((self.chunk, self.batch_size), np.int32)
        orders: dict[int, np.ndarray] = {}
        for row, t in enumerate(range(step, end)):
            epoch, place = divmod(t, self.steps_per_epoch)
            if epoch not in orders:
                orders[epoch] = self.order(epoch)
            start = place * self.batch_size
            rows[row] = orders[epoch][start : start + self.batch_size]
        return rows
