"""What XLA is given, read off the compiled text: no clock, so no noise.

Everything is compiled in float32, as it would be trained.
"""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxcnn
from jaxcnn import pooling, reference
from jaxcnn.bench import networks, scaling, steps
from jaxcnn.bench.cases import CASES
from jaxcnn.bench.options import NETWORKS
from jaxcnn.lowering import choice
from jaxcnn.mnist import model
from jaxcnn.mnist import step as train
from jaxcnn.mnist.recipe import RECIPES
from tests.lenient import as_a_user_has_it

CANONICAL = {"b0f_0io->b0f", "b01f_01io->b01f", "b012f_012io->b012f"}
COLLECTIVES = "all-reduce all-gather all-to-all collective-permute reduce-scatter".split()


@pytest.fixture(autouse=True)
def _as_a_user_has_it():
    with as_a_user_has_it():
        yield


def in_loops(text):
    """The compiled text without its entry computation."""
    loops, entry = [], False
    for line in text.splitlines():
        entry = line.startswith("ENTRY") or (entry and not line.startswith("}"))
        if not entry:
            loops.append(line)
    return "\n".join(loops)


def dim_labels(text):
    return set(re.findall(r"\bdim_labels=([^\s,]+)", text))


def representatives():
    """A case for each kind of layer and window: compiling all of them would take minutes."""
    kinds = {}
    for case in CASES:
        depthwise = case.groups > 1 and case.groups == case.x[-1]
        few = case.features and max(case.x[-1], case.features) <= 16
        options = case.strides > 1, case.dilation > 1, case.groups > 1, depthwise, few
        kinds.setdefault((case.layer, len(case.k), *options), case)
    return list(kinds.values())


def looped(case, layers):
    """A loop whose body is the layer, forward and backward: lowered, and as compiled text."""
    f = case.function(layers)

    @jax.jit
    def loop(operands, xs, gs):
        def body(carry, x_and_g):
            x, g = x_and_g
            y, pullback = jax.vjp(f, x, *operands)
            return carry + y.sum(), pullback(g)

        return jax.lax.scan(body, jnp.float32(0), (xs, gs))

    x, *operands = (jax.ShapeDtypeStruct(a.shape, a.dtype) for a in case.operands())
    xs, gs = (jax.ShapeDtypeStruct((3, *shape), x.dtype) for shape in (x.shape, case.output_shape))
    lowered = loop.lower(operands, xs, gs)
    return lowered.as_text(), lowered.compile().as_text()


def scattered(lowered):
    """Whether a select-and-scatter was asked for; what XLA makes of it differs by platform."""
    return "select_and_scatter" in lowered or "stablehlo.scatter" in lowered


@pytest.mark.parametrize("case", representatives(), ids=lambda case: case.name)
def test_layer_in_a_loop(case):
    lowered, text = looped(case, jaxcnn)
    assert not scattered(lowered)
    assert dim_labels(in_loops(text)) <= CANONICAL


def test_autodiff_would_be_caught():
    conv = next(case for case in CASES if case.layer == "conv" and case.k == (3, 3))
    assert dim_labels(in_loops(looped(conv, reference)[1])) - CANONICAL
    pool = next(case for case in CASES if case.layer == "max_pool")
    assert scattered(looped(pool, reference)[0])


@pytest.mark.parametrize("network", NETWORKS)
def test_step_in_the_trainers_loop(network):
    text = steps.in_scan(network, jaxcnn, 2).text
    assert "while(" in text
    found = dim_labels(in_loops(text))
    # The convolutions of these are all calls of oneDNN, or products.
    assert found or (network in ("post", "wide") and "__onednn" in text)
    assert found <= CANONICAL


@pytest.mark.parametrize("network", NETWORKS)
def test_step_asks_for_no_scatter(network):
    def lowered(layers):
        state, step = steps.state_and_step(network, layers)
        return jax.jit(step).lower(state, *steps.batch(4)).as_text()

    assert not scattered(lowered(jaxcnn))
    assert scattered(lowered(reference))


@pytest.mark.parametrize("network", NETWORKS)
def test_step_takes_no_more_memory_than_autodiff(network):
    hand, automatic = (steps.alone(network, layers) for layers in (jaxcnn, reference))
    assert hand.peak_bytes
    assert automatic.peak_bytes
    assert hand.peak_bytes <= 1.1 * automatic.peak_bytes


def finds_winners_where_it_interleaves():
    """Whether dx of a 2x2 max-pool of 4 channels compares in the loop that puts taps in place.

    On CPU that loop computes a winner once for each of the four taps.
    """
    x, g = jnp.zeros((2, 8, 8, 4)), jnp.ones((2, 4, 4, 4))

    def dx(x, g):
        _, pullback = jax.vjp(lambda x: jaxcnn.max_pool(x, (2, 2), (2, 2)), x)
        return pullback(g)

    text = jax.jit(dx).lower(x, g).compile().as_text()
    assert text
    (loop,) = (part for part in text.split("\n\n") if " concatenate(" in part)
    return "direction=GT" in loop


def test_few_channels_of_max_pool_find_their_winners_once(monkeypatch):
    assert not finds_winners_where_it_interleaves()
    monkeypatch.setattr(pooling, "materialized", lambda numbers: numbers)
    assert finds_winners_where_it_interleaves()


def is_summed_once_for_a_pool():
    """Whether y of a layer of few channels is an array of its own, and not part of what reads it.

    Else a 2x2 max-pool computes the sum four times.
    """
    x, w, b = jnp.zeros((4, 8, 8, 2)), jnp.zeros((3, 3, 2, 3)), jnp.zeros(3)

    def layers(x, w, b):
        return jaxcnn.max_pool(jaxcnn.conv(x, w, b, activation="relu"), (2, 2), (2, 2))

    text = jax.jit(layers).lower(x, w, b).compile().as_text()
    assert text
    return bool(re.search(r"= f32\[4,8,8,3\]\S* call\(", text))


def test_a_sum_of_few_channels_is_compiled_apart(monkeypatch):
    assert is_summed_once_for_a_pool()
    monkeypatch.setattr(choice, "APART", ())
    assert not is_summed_once_for_a_pool()


def test_steps_compile_once():
    state, step = steps.state_and_step("post", jaxcnn)
    images, labels = (jnp.asarray(a) for a in steps.batch(4))
    traces = []

    def counted(state, images, labels):
        traces.append(images.shape)
        return step(state, images, labels)

    jitted = jax.jit(counted)
    for _ in range(3):
        state, _ = jitted(state, images, labels)
    assert len(traces) == 1

    chunk = jax.jit(train.make_chunk(counted))
    order = np.zeros((3, 4), np.int32)
    state, _ = chunk(state, images, labels, order, np.int32(3))
    so_far = len(traces)
    for count in (1, 2):
        state, _ = chunk(state, images, labels, order, np.int32(count))
    assert len(traces) == so_far


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=lambda recipe: recipe.name)
def test_a_state_is_what_the_next_step_expects(recipe):
    # Another dtype, shape or weak type would compile the step a second time.
    optimizer: optax.GradientTransformation = recipe.optimizer(recipe.learning_rate, 10, 4)
    step = train.make_step(
        optimizer,
        augment=recipe.augment,
        label_smoothing=recipe.label_smoothing,
        average_decay=recipe.average_decay,
        ties=recipe.ties,
    )

    def first(seed):
        key = jax.random.key(seed)
        params = model.init(key)
        return train.init_state(params, optimizer, key, average=recipe.average_decay is not None)

    before = jax.eval_shape(first, 0)
    images, labels = steps.batch(4)
    after, _ = jax.eval_shape(step, before, images, labels)
    assert jax.tree.structure(after) == jax.tree.structure(before)
    for old, new in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True):
        assert (new.shape, new.dtype, new.weak_type) == (old.shape, old.dtype, old.weak_type)


@pytest.mark.parametrize("network", NETWORKS)
def test_step_on_eight_devices_reduces_gradients_and_gathers_nothing(network):
    text = scaling.sharded_step(network, 8, steps.BATCH).text
    found = {name for name in COLLECTIVES if re.search(rf" {name}(-start)?\(", text)}
    assert found == {"all-reduce"}
    gradients = jax.tree.leaves(networks.parameters(network))
    reduced = [
        tuple(int(n) for n in shape.split(",") if n)
        for result in re.findall(r"= (.*?) all-reduce(?:-start)?\(", text)
        for shape in re.findall(r"\bf32\[([\d,]*)\]", result)
    ]
    # One for each gradient, fused or not, and the loss and the accuracy.
    assert len(reduced) <= len(gradients) + 2
    elements = sum(g.size for g in gradients)
    assert elements <= sum(int(np.prod(shape)) for shape in reduced) <= elements + 2


@pytest.mark.parametrize(
    ("channels", "outputs", "options"),
    [(16, 3, {}), (3, 16, {}), (2, 3, {}), (16, 16, {"strides": 2, "feature_group_count": 16})],
    ids=["few outputs", "few inputs", "few of both", "depthwise"],
)
def test_y_and_dx_of_a_batch_on_eight_devices_exchange_nothing(channels, outputs, options):
    mesh = jax.make_mesh((8,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))
    here, everywhere = (
        jax.NamedSharding(mesh, jax.sharding.PartitionSpec(*axes)) for axes in (["batch"], [])
    )
    x = jax.ShapeDtypeStruct((16, 9, 8, channels), jnp.float32)
    groups = options.get("feature_group_count", 1)
    w = jax.ShapeDtypeStruct((3, 3, channels // groups, outputs), jnp.float32)

    def y_and_dx(x, w):
        y, pullback = jax.vjp(lambda x: jaxcnn.conv(x, w, **options), x)
        return y, pullback(y)

    compiled = jax.jit(y_and_dx, in_shardings=(here, everywhere)).lower(x, w).compile()
    assert not [name for name in COLLECTIVES if name in (compiled.as_text() or "")]
    shardings = jax.tree.leaves(compiled.output_shardings)
    assert all(s.is_equivalent_to(here, 4) for s in shardings)


@pytest.mark.parametrize(("rows", "beforehand"), [(4, True), (2**20, False)])
def test_the_sum_in_dx_of_softmax_comes_first_where_all_is_in_cache(rows, beforehand):
    def dx(x, g):
        return jax.vjp(jaxcnn.softmax, x)[1](g)

    shape = jax.ShapeDtypeStruct((rows, 10), jnp.float32)
    lowered = jax.jit(dx).lower(shape, shape)
    assert ("optimization_barrier" in lowered.as_text()) == beforehand
    assert "conditional" not in (lowered.compile().as_text() or "conditional")
