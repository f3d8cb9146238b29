"""How the network that comes with the page was trained; run it to make the file anew.

    python -m jaxcnn.play.training --out weights.npz

It learns from scikit-learn's 1,797 digits and from digits that a program writes: the strokes of
`strokes.py`, bent, slanted, stretched and drawn with pens of any width, since a mouse on a screen
draws unlike a pen on paper. MNIST takes no part, except where `--data-dir` names its folder: then
the accuracy on its test set is printed, a measure on hands that were never seen.
"""

import argparse
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ..mnist import model, step
from ..mnist.augmentation import affine
from ..mnist.data import sources
from ..mnist.data.digits import TRAIN, VALIDATION, load_digits
from .canvas import CANVAS, place
from .shipped import save
from .strokes import WAYS, curve

BATCH = 128
# Of a batch, from scikit-learn's digits; the others are written.
SCANNED = 32
_CHUNK = 100
# Written digits are drawn on this grid, and placed as the page's drawings are.
_GRID = 56


def written(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 `[count, 28, 28]` of digits that a program wrote, and their labels."""
    labels = rng.integers(0, 10, count).astype(np.uint8)
    return np.stack([place(_ink(rng, _bent(rng, int(label)))) for label in labels]), labels


def _bent(rng: np.random.Generator, digit: int) -> list[np.ndarray]:
    """One way of writing a digit, its points and lines moved at random."""
    ways = WAYS[digit]
    way = ways[rng.integers(len(ways))]
    wobble = rng.uniform(0.0, 0.045)
    # Where strokes meet they move together.
    moved = {p: np.asarray(p) + rng.normal(0, wobble, 2) for stroke in way for p in stroke}
    stretch = np.diag(np.exp(rng.uniform(-0.35, 0.35, 2)))
    slant = np.array([[1, rng.uniform(-0.35, 0.35)], [0, 1]])
    angle = rng.normal(0, 0.13)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = turn @ slant @ stretch
    waves = rng.uniform(0, 0.03), rng.uniform(2, 6, 2), rng.uniform(0, 2 * np.pi, 2)
    lines = []
    for stroke in way:
        line = curve(np.stack([moved[p] for p in stroke])) - 0.5
        line = line + waves[0] * np.sin(line[:, ::-1] * waves[1] + waves[2])
        lines.append(line @ linear.T)
    return lines


def _ink(rng: np.random.Generator, lines: list[np.ndarray]) -> np.ndarray:
    """Lines drawn with a round pen, uint8 `[112, 112]`."""
    points = np.concatenate(lines)
    low, high = points.min(0), points.max(0)
    radius = rng.uniform(0.03, 0.09) * (high - low).max()
    low, high = low - 2 * radius, high + 2 * radius
    centres = (np.arange(_GRID) + 0.5) / _GRID * (high - low).max()
    y, x = centres[:, None, None] + low[1], centres[None, :, None] + low[0]
    a = np.concatenate([line[:-1] for line in lines])
    d = np.concatenate([np.diff(line, axis=0) for line in lines])
    along = ((x - a[:, 0]) * d[:, 0] + (y - a[:, 1]) * d[:, 1]) / ((d**2).sum(1) + 1e-12)
    along = np.clip(along, 0, 1)
    squared = (x - a[:, 0] - along * d[:, 0]) ** 2 + (y - a[:, 1] - along * d[:, 1]) ** 2
    distance = np.sqrt(squared.min(-1))
    edge = (high - low).max() / _GRID
    ink = np.clip((radius - distance) / edge + 0.5, 0, 1)
    return np.repeat(np.repeat(ink * 255, CANVAS // _GRID, 0), CANVAS // _GRID, 1).astype(np.uint8)


def train(*, steps: int, examples: int, seed: int) -> model.Params:
    """The parameters after so many steps; prints the loss as they go."""
    rng = np.random.default_rng(seed)
    scanned, scanned_labels, _ = load_digits()
    # The last 300 are by other writers and stay unseen.
    scanned, scanned_labels = (v[: TRAIN + VALIDATION] for v in (scanned, scanned_labels))
    drawn, drawn_labels = written(rng, examples)
    images = jnp.asarray(np.concatenate([scanned, drawn]))
    labels = jnp.asarray(np.concatenate([scanned_labels, drawn_labels]))

    schedule = optax.warmup_cosine_decay_schedule(3e-4, 3e-3, max(1, steps // 10), steps, 3e-6)
    optimizer = optax.adamw(schedule, b2=0.99, weight_decay=1e-2)
    augment = affine(degrees=12, scale=0.15, shear=0.15, pixels=2)
    one = step.make_step(optimizer, augment=augment, label_smoothing=0.05, average_decay=0.999)
    chunk = jax.jit(step.make_chunk(one), donate_argnums=0)
    init_key, step_key = jax.random.split(jax.random.key(seed))
    state = step.init_state(model.init(init_key), optimizer, step_key, average=True)
    for done in range(0, steps, _CHUNK):
        order = np.concatenate(
            [
                rng.integers(0, len(scanned), (_CHUNK, SCANNED)),
                rng.integers(len(scanned), len(images), (_CHUNK, BATCH - SCANNED)),
            ],
            axis=1,
        )
        count = min(_CHUNK, steps - done)
        state, metrics = chunk(state, images, labels, jnp.asarray(order, jnp.int32), count)
        loss = float(metrics["loss"][:count].mean())
        print(f"step {done + count}: loss {loss:.4f}", flush=True)
    return step.final_params(state)


def accuracy(params: model.Params, images: np.ndarray, labels: np.ndarray) -> float:
    """The share of images uint8 `[N, 28, 28]` that are named rightly."""
    forward = jax.jit(lambda x: model.apply(params, model.pixels(x)).argmax(-1))
    batches = [forward(images[i : i + 500]) for i in range(0, len(images), 500)]
    return float((np.concatenate(batches) == labels).mean())


def main() -> None:
    """Train, write the file, and say how good the network is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="the .npz file to write")
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--examples", type=int, default=25_000, help="digits to write")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data-dir", type=Path, help="MNIST's folder, to be tested on it")
    options = parser.parse_args()
    params = train(steps=options.steps, examples=options.examples, seed=options.seed)
    params = save(options.out, params)
    images, labels, _ = load_digits()
    held_out = TRAIN + VALIDATION
    tests = {
        "scikit-learn's last 300": (images[held_out:], labels[held_out:]),
        "2,000 written digits": written(np.random.default_rng(options.seed + 1), 2000),
    }
    if options.data_dir:
        mnist = sources.load("mnist", options.data_dir)
        tests["MNIST's test set"] = (mnist.test_images, mnist.test_labels)
    for name, (images, labels) in tests.items():
        print(f"{name}: accuracy {accuracy(params, images, labels):.4f}")


if __name__ == "__main__":
    main()
