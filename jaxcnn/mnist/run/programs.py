"""The programs of a run: what its configuration says, compiled over its data and devices."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import jaxcnn
from jaxcnn import reference

from .. import description, model, step
from ..data.sources import Dataset
from ..machine import distributed, engine
from ..recipe import RECIPES
from .configuration import Configuration
from .schedule import Schedule

LAYERS = {"jaxcnn": jaxcnn, "reference": reference}
# Steps between two looks at the loss, the signals and the bar, and the products of an image's
# forward pass that all of them add up: under a second or two on a CPU.
_CHUNK, _CHUNK_PRODUCTS = 50, 200_000_000
# Images of an evaluation at a time, where no processor's cache has to hold them.
_EVALUATION_BATCH = 500


def new_state(
    configuration: Configuration,
    seed: jax.Array | int | None = None,
    optimizer: optax.GradientTransformation | None = None,
) -> step.State:
    """The state before the first step of a run: a pure function of its configuration.

    Jitted, it is to be given the seed as an argument: XLA folds the random numbers of a constant
    one while it compiles, which takes seconds.
    """
    recipe = RECIPES[configuration.recipe]
    key = jax.random.key(configuration.seed if seed is None else seed)
    init_key, step_key = jax.random.split(key)
    dtype = jnp.float64 if configuration.dtype == "float64" else jnp.float32
    params = model.init(init_key, configuration.model, scheme=recipe.scheme, dtype=dtype)
    average = recipe.average_decay is not None
    optimizer = optimizer or _optimizer(configuration)
    return step.init_state(params, optimizer, step_key, average=average)


def new_step(
    configuration: Configuration, optimizer: optax.GradientTransformation | None = None
) -> step.Step:
    """The pure training step of a run; with another optimiser than its own, if one is given."""
    recipe = RECIPES[configuration.recipe]
    return step.make_step(
        optimizer or _optimizer(configuration),
        model=configuration.model,
        layers=LAYERS[configuration.layers],
        augment=recipe.augment,
        label_smoothing=recipe.label_smoothing,
        average_decay=recipe.average_decay,
        ties=recipe.ties,
        dtype=layers_dtype(configuration),
    )


def layers_dtype(configuration: Configuration) -> Any:
    """What the layers compute in, where it is not the parameters' dtype; else None."""
    return jnp.bfloat16 if configuration.dtype == "bfloat16" else None


def _optimizer(configuration: Configuration) -> optax.GradientTransformation:
    c = configuration
    return RECIPES[c.recipe].optimizer(c.learning_rate, c.steps, c.batch_size)


def new_schedule(
    configuration: Configuration, dataset: Dataset, save_every: int | None = None
) -> Schedule:
    """The places of a run."""
    recipe = RECIPES[configuration.recipe]
    return Schedule(
        examples=len(dataset.train_labels),
        batch_size=configuration.batch_size,
        steps=configuration.steps,
        seed=configuration.seed,
        chunk=max(1, min(_CHUNK, _CHUNK_PRODUCTS // products(configuration))),
        shuffle_once=recipe.shuffle_once,
        evaluate_every=recipe.evaluate_every,
        save_every=save_every,
    )


def products(configuration: Configuration) -> int:
    """The products that the forward pass of one image adds up."""
    return sum(layer.products for layer in description.read(configuration.model))


def convolutions_by(configuration: Configuration, devices: int) -> str:
    """What computes the convolutions of the run: `oneDNN` or `XLA`."""
    if configuration.layers != "jaxcnn":
        return "XLA"
    return engine.name(products(configuration), devices, configuration.dtype)


def evaluation_batch(configuration: Configuration, devices: int) -> int:
    """How many images of an evaluation all devices together take at a time.

    By oneDNN as many as stay in the processor's cache. Without it XLA computes small batches on one
    core alone.
    """
    if convolutions_by(configuration, devices) == "oneDNN":
        return step.evaluation_batch(configuration.model, configuration.dtype)
    return -(-_EVALUATION_BATCH // devices) * devices


class Programs:
    """The compiled programs of a run over the data on its devices: a chunk of steps, and logits.

    The three splits lie one after the other in one array, so both programs read the same.
    """

    def __init__(
        self,
        configuration: Configuration,
        dataset: Dataset,
        schedule: Schedule,
        mesh: Mesh,
    ):
        """Put the data on the devices, and compile."""
        self.mesh = mesh
        with engine.compiling_for(convolutions_by(configuration, mesh.size)):
            self._prepare(configuration, dataset, schedule, mesh)

    def _prepare(
        self,
        configuration: Configuration,
        dataset: Dataset,
        schedule: Schedule,
        mesh: Mesh,
    ) -> None:
        splits = {
            "train": (dataset.train_images, dataset.train_labels),
            "validation": (dataset.validation_images, dataset.validation_labels),
            "test": (dataset.test_images, dataset.test_labels),
        }
        self.labels_of = {name: labels for name, (_, labels) in splits.items()}
        starts = np.cumsum([0, *(len(labels) for _, labels in splits.values())])
        self._start_of = dict(zip(splits, starts, strict=False))
        images = np.concatenate([images for images, _ in splits.values()])
        labels = np.concatenate([labels for _, labels in splits.values()])
        self.images = distributed.replicate(images, mesh)
        self.labels = distributed.replicate(labels, mesh)

        whole = NamedSharding(mesh, PartitionSpec())
        self.like = distributed.like(jax.eval_shape(lambda: new_state(configuration)), mesh)
        batch = evaluation_batch(configuration, mesh.size)
        most = max(len(self.labels_of["validation"]), len(self.labels_of["test"]))
        self._evaluation_shape = (-(-most // batch), batch)
        order, evaluation = (
            jax.ShapeDtypeStruct(
                shape, np.int32, sharding=NamedSharding(mesh, PartitionSpec(None, "data"))
            )
            for shape in ((schedule.chunk, schedule.batch_size), self._evaluation_shape)
        )
        count = jax.ShapeDtypeStruct((), np.int32, sharding=whole)
        chunk = jax.jit(
            step.make_chunk(new_step(configuration)), donate_argnums=0, out_shardings=whole
        ).lower(self.like, self.images, self.labels, order, count)
        params = step.final_params(self.like)
        logits = jax.jit(
            step.make_logits(
                model=configuration.model,
                layers=LAYERS[configuration.layers],
                dtype=layers_dtype(configuration),
            ),
            out_shardings=whole,
        ).lower(params, self.images, evaluation, count)
        self._seed = np.uint32(configuration.seed)
        init = jax.jit(lambda seed: new_state(configuration, seed), out_shardings=whole).lower(
            jax.ShapeDtypeStruct((), np.uint32, sharding=whole)
        )
        # XLA lets go of the interpreter while it compiles.
        with ThreadPoolExecutor() as pool:
            compiled = [pool.submit(program.compile) for program in (chunk, logits, init)]
            self._chunk, self._logits, self._init = (future.result() for future in compiled)

    def init(self) -> step.State:
        """The state before the first step, on the devices."""
        return self._init(distributed.replicate(self._seed, self.mesh))

    def chunk(
        self, state: step.State, batches: np.ndarray, count: int
    ) -> tuple[step.State, dict[str, np.ndarray]]:
        """Make `count` steps. The state that is passed in is given away."""
        order = distributed.shard_batches(batches, self.mesh)
        count_ = distributed.replicate(np.int32(count), self.mesh)
        state, metrics = self._chunk(state, self.images, self.labels, order, count_)
        return state, {name: np.asarray(values)[:count] for name, values in metrics.items()}

    def logits(self, params: Any, split: str) -> np.ndarray:
        """The logits `[N, 10]` of a split's examples, in their order."""
        n = len(self.labels_of[split])
        batches, batch = self._evaluation_shape
        order = np.zeros(self._evaluation_shape, np.int32)
        rows = -(-n // batch)
        outputs = []
        # Only the training split is longer than the program's shape.
        for first in range(0, rows, batches):
            numbers = np.arange(first * batch, min(n, (first + batches) * batch))
            order.ravel()[: len(numbers)] = numbers + self._start_of[split]
            count = distributed.replicate(np.int32(-(-len(numbers) // batch)), self.mesh)
            sharded = distributed.shard_batches(order, self.mesh)
            out = np.asarray(self._logits(params, self.images, sharded, count))
            outputs.append(out.reshape(-1, out.shape[-1])[: len(numbers)])
        return np.concatenate(outputs)

    def evaluate(self, state: step.State, split: str) -> dict[str, float]:
        """Mean cross entropy and accuracy over a split."""
        z = self.logits(step.final_params(state), split).astype(np.float64)
        labels = self.labels_of[split].astype(np.int64)
        z -= z.max(axis=-1, keepdims=True)
        losses = np.log(np.exp(z).sum(axis=-1)) - z[np.arange(len(labels)), labels]
        return {"loss": float(losses.mean()), "accuracy": float((z.argmax(-1) == labels).mean())}
