"""The training step, the loop over it, the recipes, and where a run pauses."""

import dataclasses
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import export

from jaxcnn import reference
from jaxcnn.mnist import augmentation, model
from jaxcnn.mnist.recipe import PUBLISHED_CURVE, RECIPES
from jaxcnn.mnist.run import programs
from jaxcnn.mnist.run.configuration import Configuration
from jaxcnn.mnist.run.schedule import Schedule
from jaxcnn.mnist.step import (
    evaluation_batch,
    final_params,
    init_state,
    make_chunk,
    make_logits,
    make_step,
)

EXAMPLES, BATCH = 24, 4


@pytest.fixture(autouse=True)
def _standard_promotion():
    # Optax relies on JAX's ordinary promotion; what the layers promise is tested elsewhere.
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


@pytest.fixture(scope="module")
def examples():
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (EXAMPLES, 28, 28), dtype=np.uint8)
    return jnp.asarray(images), jnp.asarray(generator.integers(0, 10, EXAMPLES, dtype=np.uint8))


def new_state(optimizer, average=False, dtype=jnp.float64):
    params = model.init(jax.random.key(1), dtype=dtype)
    return init_state(params, optimizer, jax.random.key(2), average=average)


def configuration(recipe, **changes):
    base = Configuration("digits", "post", recipe, "jaxcnn", 20, BATCH, 1e-3, 0, dtype="float64")
    return dataclasses.replace(base, **changes)


def test_step_makes_the_update_that_autodiff_makes(examples):
    images, labels = examples[0][:BATCH], examples[1][:BATCH]
    optimizer = optax.sgd(0.1)
    state = new_state(optimizer)
    new, metrics = jax.jit(make_step(optimizer))(state, images, labels)

    def loss(params):
        logits = model.apply(params, images[..., None] / 255.0, layers=reference)
        picked = jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None].astype(int), 1)
        return -picked.mean(), logits

    (value, logits), g = jax.jit(jax.value_and_grad(loss, has_aux=True))(state.params)
    expected = jax.tree.map(lambda p, g: p - 0.1 * g, state.params, g)
    chex.assert_trees_all_close(new.params, expected, rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(metrics["loss"], value, rtol=1e-12)
    assert metrics["accuracy"] == (np.argmax(logits, -1) == np.asarray(labels)).mean()
    assert new.step == 1
    # The rules, not autodiff: swapping the module swaps every gradient.
    text = str(jax.make_jaxpr(make_step(optimizer))(state, images, labels))
    by_reference = make_step(optimizer, layers=reference)
    assert str(jax.make_jaxpr(by_reference)(state, images, labels)) != text


def test_label_smoothing_is_the_cross_entropy_of_the_smoothed_labels(examples):
    images, labels = examples[0][:BATCH], examples[1][:BATCH]
    optimizer = optax.sgd(0.1)
    state = new_state(optimizer)
    _, metrics = jax.jit(make_step(optimizer, label_smoothing=0.2))(state, images, labels)
    z = np.asarray(model.apply(state.params, images[..., None] / 255.0), np.float64)
    log_p = z - np.log(np.exp(z).sum(-1, keepdims=True))
    smoothed = 0.8 * np.eye(10)[np.asarray(labels)] + 0.02
    np.testing.assert_allclose(metrics["loss"], -(smoothed * log_p).sum(-1).mean(), rtol=1e-10)


def test_average_follows_the_parameters(examples):
    images, labels = examples[0][:BATCH], examples[1][:BATCH]
    optimizer = optax.sgd(0.5)
    step = jax.jit(make_step(optimizer, average_decay=0.6))
    state = new_state(optimizer, average=True)
    expected = state.params
    for t in range(12):
        state, _ = step(state, images, labels)
        decay = min(0.6, (1 + t) / (10 + t))
        expected = jax.tree.map(lambda a, p, d=decay: d * a + (1 - d) * p, expected, state.params)
    chex.assert_trees_all_close(state.average, expected, rtol=1e-9, atol=1e-12)
    assert final_params(state) is state.average


def test_chunk_is_the_steps_one_after_the_other_and_one_program(examples):
    images, labels = examples
    optimizer = optax.adam(1e-2)
    chex.clear_trace_counter()
    step = make_step(optimizer, augment=augmentation.shift(1))
    # Traced once for the loop, and once for the shapes of its metrics.
    counted: Any = chex.assert_max_traces(n=2)(step)
    chunk = jax.jit(make_chunk(counted))
    order = np.random.default_rng(0).permutation(EXAMPLES).reshape(-1, BATCH).astype(np.int32)
    state = new_state(optimizer)
    single = jax.jit(step)
    one_by_one, losses = state, []
    for row in order:
        one_by_one, metrics = single(one_by_one, images[row], labels[row])
        losses.append(float(metrics["loss"]))
    whole, metrics = chunk(state, images, labels, order, np.int32(6))
    np.testing.assert_allclose(metrics["loss"], losses, rtol=1e-10)
    chex.assert_trees_all_close(whole, one_by_one, rtol=1e-7, atol=1e-10)
    # Cut anywhere it is the same program, and the same numbers to the bit.
    parts = state
    for first, count in ((0, 1), (1, 3), (4, 2)):
        parts, _ = chunk(parts, images, labels, np.roll(order, -first, 0), np.int32(count))
    chex.assert_trees_all_equal(parts, whole)


def test_a_step_in_bfloat16_keeps_its_sums_and_its_state_in_float32(examples):
    images, labels = examples[0][:BATCH], examples[1][:BATCH]
    state = new_state(optax.sgd(1.0), dtype=jnp.float32)

    def update(dtype: Any):
        step = jax.jit(make_step(optax.sgd(1.0), dtype=dtype))
        new, metrics = step(state, images, labels)
        assert all(leaf.dtype == np.float32 for leaf in jax.tree.leaves((new.params, metrics)))
        return jax.tree.map(lambda a, b: np.asarray(b - a), state.params, new.params), metrics

    (exact, metrics), (rounded, narrow) = update(None), update(jnp.bfloat16)
    np.testing.assert_allclose(narrow["loss"], metrics["loss"], rtol=0.02)
    for one, other in zip(jax.tree.leaves(exact), jax.tree.leaves(rounded), strict=True):
        # Of the length of the gradient: noise as images cancels much of it, 8 bits are left.
        away = np.linalg.norm(one - other) / np.linalg.norm(one)
        assert 1e-4 < away < 0.3
    text = str(jax.make_jaxpr(make_step(optax.sgd(1.0), dtype=jnp.bfloat16))(state, images, labels))
    sums = [line for line in text.splitlines() if "correlation[" in line]
    assert len(sums) == 12  # four layers: y, dx and dw
    assert all("bf16" in line for line in sums)


@pytest.mark.parametrize("recipe", RECIPES)
def test_step_of_every_recipe_lowers_for_cpu_cuda_and_tpu(recipe, examples):
    c = configuration(recipe, dtype="float32")
    step = make_chunk(programs.new_step(c))
    like = jax.eval_shape(lambda: programs.new_state(c))
    order = jax.ShapeDtypeStruct((3, BATCH), np.int32)
    count = jax.ShapeDtypeStruct((), np.int32)
    platforms = ("cpu", "cuda", "tpu")
    exported = export.export(jax.jit(step), platforms=platforms)(like, *examples, order, count)
    assert exported.platforms == platforms
    assert "stablehlo.while" in exported.mlir_module()


def test_post_recipe_is_the_notebooks_rule_written_out():
    recipe = RECIPES["post"]
    params = model.init(jax.random.key(0), scheme="post", dtype=jnp.float64)
    optimizer = recipe.optimizer(recipe.learning_rate, 351, recipe.batch_size)
    state = optimizer.init(params)
    g = jax.tree.map(lambda p: jnp.cos(7 * p), params)
    velocity = jax.tree.map(np.zeros_like, params)
    expected = jax.tree.map(np.asarray, params)
    for _ in range(3):
        updates, state = optimizer.update(g, state, params)
        params = optax.apply_updates(params, updates)
        for name, layer in expected.items():
            for kind in layer:
                decay = 2 / 128 * layer[kind] if kind == "w" else 0
                velocity[name][kind] = 0.9 * velocity[name][kind] + g[name][kind] + decay
        expected = jax.tree.map(lambda p, v: p - 1e-3 * v, expected, velocity)
    chex.assert_trees_all_close(params, expected, rtol=1e-12)


def test_post_recipe_pools_with_the_posts_mask(examples):
    images, labels = examples[0][:BATCH].at[:, :14].set(0), examples[1][:BATCH]
    c = configuration("post")
    state = programs.new_state(c)
    new, _ = jax.jit(programs.new_step(c))(state, images, labels)

    def loss(params):
        logits = model.apply(params, images[..., None] / 255.0, layers=reference, ties="all")
        losses = reference.softmax_cross_entropy_with_integer_labels(logits, labels.astype(int))
        return losses.mean()

    for name, layer in jax.jit(jax.grad(loss))(state.params).items():
        for kind, g in layer.items():
            p = state.params[name][kind]
            g = g + 2 / BATCH * p if kind == "w" else g
            np.testing.assert_allclose(
                new.params[name][kind] - p, -1e-3 * g, rtol=1e-8, atol=1e-11, err_msg=name + kind
            )


def test_post_recipe_draws_the_notebooks_weights():
    params = new_params = programs.new_state(configuration("post")).params
    for name, layer in new_params.items():
        conv = name.startswith("conv")
        assert np.all(np.asarray(layer["b"]) == (0.15 if conv else 1.15))
    w = np.asarray(params["dense1"]["w"])
    np.testing.assert_allclose(w.std(), 0.1, rtol=0.02)
    np.testing.assert_allclose(np.asarray(params["conv4"]["w"]).std(), 0.5, rtol=0.1)
    other = programs.new_state(configuration("post", seed=1)).params["dense1"]["w"]
    assert abs(np.corrcoef(w.ravel(), np.asarray(other).ravel())[0, 1]) < 0.02


def test_seed_passed_as_an_argument_makes_the_same_state():
    c = configuration("best", seed=5)
    jitted = jax.jit(lambda seed: programs.new_state(c, seed))(np.uint32(5))
    chex.assert_trees_all_close(jitted, programs.new_state(c), rtol=1e-14)


def test_shift_moves_every_image_on_its_own_and_whole():
    images = jnp.zeros((64, 9, 9, 1)).at[:, 4, 3, 0].set(1.0)
    moved = np.asarray(augmentation.shift(2)(jax.random.key(0), images))
    places = {tuple(np.argwhere(image)[0][:2] - (4, 3)) for image in moved}
    assert moved.sum() == 64
    assert len(places) > 12
    assert all(abs(dy) <= 2 and abs(dx) <= 2 for dy, dx in places)


def test_affine_turns_by_the_angle_it_is_given():
    # Bounds of the angle alone: a bar of ink lies within 40 degrees of where it lay.
    image = np.zeros((1, 29, 29, 1))
    image[0, 14, 4:25] = 1
    images = jnp.asarray(np.repeat(image, 32, 0))
    turn = augmentation.affine(degrees=40, scale=0, shear=0, pixels=0)
    angles = []
    for turned in np.asarray(turn(jax.random.key(0), images))[..., 0]:
        y, x = np.argwhere(turned > 0.3).T - 14
        angles.append(np.rad2deg(np.arctan2(y[x > 6].mean(), x[x > 6].mean())))
        np.testing.assert_allclose(turned.sum(), 21, rtol=0.1)
    assert max(map(abs, angles)) < 41
    assert max(angles) > 20 > -20 > min(angles)


def test_affine_shifts_and_brings_in_paper():
    images = jnp.ones((16, 7, 7, 1))
    move = augmentation.affine(degrees=0, scale=0, shear=0, pixels=3)
    moved = np.asarray(move(jax.random.key(0), images))
    assert moved.max() <= 1
    assert moved.min() == 0
    assert len({round(float(image.sum()), 6) for image in moved}) == 16


def test_augmentation_draws_anew_at_every_step_and_from_the_place_alone(examples):
    images, labels = examples[0][:BATCH], examples[1][:BATCH]
    optimizer = optax.sgd(0.0)
    step = jax.jit(make_step(optimizer, augment=augmentation.shift(3)))
    state = new_state(optimizer)
    first, metrics = step(state, images, labels)
    _, later = step(first, images, labels)
    _, again = step(state._replace(step=first.step), images, labels)
    assert metrics["loss"] != later["loss"]
    assert later["loss"] == again["loss"]


def test_order_is_a_permutation_that_seed_and_epoch_fix():
    schedule = Schedule(examples=10, batch_size=3, steps=9, seed=4, chunk=5)
    orders = [schedule.order(epoch) for epoch in range(3)]
    assert all(sorted(order) == list(range(10)) for order in orders)
    assert not np.array_equal(orders[0], orders[1])
    assert np.array_equal(orders[1], dataclasses.replace(schedule, chunk=2).order(1))
    assert not np.array_equal(orders[0], dataclasses.replace(schedule, seed=5).order(0))
    once = dataclasses.replace(schedule, shuffle_once=True)
    assert np.array_equal(once.order(0), once.order(2))


@pytest.mark.parametrize("chunk", [1, 2, 5, 50])
def test_batches_do_not_depend_on_where_the_chunks_are_cut(chunk):
    schedule = Schedule(examples=10, batch_size=3, steps=8, seed=0, chunk=chunk)
    step, rows = 0, []
    while step < schedule.steps:
        end = schedule.next_pause(step)
        assert step < end <= step + chunk
        rows.extend(schedule.batches(step, end)[: end - step])
        step = end
    expected = [schedule.order(t // 3)[t % 3 * 3 :][:3] for t in range(8)]
    np.testing.assert_array_equal(rows, expected)


def test_pauses_are_where_something_is_due():
    schedule = Schedule(examples=40, batch_size=4, steps=25, seed=0, save_every=7)
    assert [t for t in range(26) if schedule.evaluates(t)] == [10, 20, 25]
    assert [t for t in range(26) if schedule.saves(t)] == [7, 14, 21, 25]
    pauses, step = [], 0
    while step < 25:
        step = schedule.next_pause(step)
        pauses.append(step)
    assert pauses == [7, 10, 14, 20, 21, 25]
    assert [schedule.epoch(t) for t in (1, 10, 11, 25)] == [1, 1, 2, 3]
    post = dataclasses.replace(schedule, evaluate_every=10)
    assert [t for t in range(26) if post.evaluates(t)] == [1, 11, 21, 25]


def test_recipe_post_evaluates_where_the_notebook_did():
    recipe = RECIPES["post"]
    assert recipe.steps is not None
    schedule = Schedule(
        examples=50_000, batch_size=recipe.batch_size, steps=recipe.steps, seed=0,
        evaluate_every=recipe.evaluate_every,
    )  # fmt: skip
    evaluated = [t - 1 for t in range(recipe.steps + 1) if schedule.evaluates(t)]
    assert evaluated == list(PUBLISHED_CURVE)


def test_logits_are_those_of_the_network_whatever_the_batches(examples):
    images, _ = examples
    params = model.init(jax.random.key(0), dtype=jnp.float64)
    order = np.arange(20, dtype=np.int32).reshape(4, 5)
    logits = jax.jit(make_logits())(params, images, order, np.int32(3))
    expected = jax.jit(model.apply)(params, images[:15, ..., None] / 255.0)
    np.testing.assert_allclose(logits.reshape(20, 10)[:15], expected, rtol=1e-9, atol=1e-12)
    assert not np.asarray(logits[3]).any()


def test_an_evaluation_takes_as_many_images_as_stay_in_cache():
    # 28 x 28 x (32 + 32) floats are 200 KB an image.
    assert [evaluation_batch("wide", d) for d in ("float32", "bfloat16")] == [64, 128]
    assert evaluation_batch("conv 1, pool 2") == 32 * evaluation_batch("conv 64")
    assert evaluation_batch("conv 20000 1x1, pool 28") == 1


@pytest.mark.parametrize(
    ("engine", "devices", "images"), [("oneDNN", 1, 64), ("XLA", 1, 500), ("XLA", 8, 504)]
)
def test_only_an_evaluation_by_onednn_is_in_small_parts(engine, devices, images, monkeypatch):
    monkeypatch.setattr(programs, "convolutions_by", lambda *_: engine)
    wide = configuration("best", model="wide", dtype="float32")
    assert programs.evaluation_batch(wide, devices) == images
