"""Which form a correlation takes: ordered tables, of which the first that fits is used.

A form is the same sum put to XLA in another way. On a CPU the ways differ by factors of 2 to 100;
elsewhere XLA has its own libraries and gets the plain convolution. What was measured, and what did
not pay, stands in MEASURED.md.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp

from . import forms_of_dw, forms_of_y, onednn, onednn_dw, plain
from .apart import apart
from .correlation import FREE, Correlation, Problem
from .parts import parts_in_cache
from .tile import tile

# A tap more is a pass more over the whole array.
MOST_TAPS = 64
# Each channel at each tap is a product more of each output; to more outputs another form is faster.
MOST_PRODUCTS = 50
MOST_PRODUCTS_OF_ALL = 216
# A group more is a convolution more.
MOST_GROUPS = 16
# As channels of one convolution, more phases than this are mostly zeros to multiply with.
MOST_SUBPIXELS = 72
# Of so many channels summed into few, XLA's own dilated convolution is as fast as any.
MANY_INPUTS = 256
# Beyond so many channels XLA:CPU calls a library that uses one core.
FEW_CHANNELS = 16
# oneDNN computes a vector of outputs at a time; of so few most of it lies idle. With three axes
# XLA's loop takes longer still.
FEW_OUTPUTS = 4
# And in groups of fewer channels it computes one at a time.
FEW_IN_A_GROUP = 4
# What each tap adds to each output is written down: at most so many times what is read.
SUMS_OF_A_CHANNEL = 3
# oneDNN sums over the examples; of fewer, in as many groups, the rows belong to the sum as well.
FEW_EXAMPLES = 16
# A pair of channels is a copy of one of x and of one of g.
MOST_PAIRS = 64
# So many rows of patches are soon written, for so many outputs to each channel.
MOST_PATCHES = 27
MANY_OUTPUTS = 32
OUTPUTS_OF_A_CHANNEL = 20
MOST_PATCHES_OF_A_LINE = 12
# dw by oneDNN copies what every tap sees: for fewer products of channels, or of fewer channels on
# one axis or three, there is too little to compute for that.
ENOUGH_PRODUCTS = 24
ENOUGH_OF_BOTH = {1: 8, 3: 2}
# Of 16 bits x has to be transposed for it.
ENOUGH_OF_NARROW = 8
# A tap of the first axis is a sum of its own.
MOST_PLANES = 8
# Less work than this is done before the other cores have started, in multiplications and additions.
WORTH_ALL_CORES = 2e7
# A quarter of less is too little to share out: examples, and examples times the wider channels.
WORTH_QUARTERS = 64
WORTH_NARROW_QUARTERS = 512
# Fewer sums than this in a kernel's row do not pay for the transposed copies.
WORTH_ROWS = 128


class Form(NamedTuple):
    """A way of putting a correlation to XLA: its name, when it fits, and what it does."""

    name: str
    fits: Callable[[Problem], bool]
    run: Callable[..., jax.Array]


def _ones(*parts: tuple[int, ...]) -> bool:
    return all(set(part) == {1} for part in parts)


def _flops(p: Problem) -> int:
    return 2 * math.prod((*p.m, *p.w[:-1], p.x[0], p.w[-1]))


def _is_shifted(p: Problem) -> bool:
    return p.depthwise and math.prod(p.k) <= MOST_TAPS


def _is_few_products(p: Problem) -> bool:
    products = math.prod(p.w[:-1])
    few = products <= MOST_PRODUCTS and products * p.w[-1] <= MOST_PRODUCTS_OF_ALL
    return few and p.groups == 1 and p.dtype == jnp.float32 and _ones(p.window.lhs_dilation)


def _is_split(p: Problem) -> bool:
    return (
        p.groups > 1 and not p.depthwise and p.groups // forms_of_y.merged(p.w, p.c) <= MOST_GROUPS
    )


def _apart(k: tuple[int, ...], strides: tuple[int, ...], dilation: tuple[int, ...]) -> bool:
    """Whether windows of these sizes, so far from each other, do not meet."""
    return all(
        ki == 1 or (d == 1 and ki <= s) for ki, s, d in zip(k, strides, dilation, strict=True)
    )


def _is_dilated(p: Problem) -> bool:
    window = p.window
    dilated = not _ones(window.lhs_dilation)
    return dilated and _ones(window.rhs_dilation, window.strides)


def _is_subpixel(p: Problem) -> bool:
    return _is_phased(p) and (_few_subpixels(p) or p.k == p.window.lhs_dilation)


def _is_phased(p: Problem) -> bool:
    from_many_to_few = p.x[-1] >= MANY_INPUTS and _few_subpixels(p)
    dense = p.groups == 1 and _is_dilated(p)
    return dense and (not from_many_to_few or p.k == p.window.lhs_dilation)


def _few_subpixels(p: Problem) -> bool:
    return p.w[-1] * math.prod(p.window.lhs_dilation) <= MOST_SUBPIXELS


def _is_dense_image(p: Problem) -> bool:
    image = len(p.k) == 2 and p.dtype == jnp.float32
    return image and p.groups == 1 and _ones(p.window.lhs_dilation)


def _is_tiled(p: Problem) -> bool:
    unit = _ones(p.window.strides, p.window.rhs_dilation)
    return _is_dense_image(p) and unit and tile(p.x, p.w, p.window) != (1, 1)


def _is_all_cores(p: Problem) -> bool:
    fewest, most = sorted((p.x[-1], p.w[-1]))
    wide = fewest >= FEW_CHANNELS and most > FEW_CHANNELS
    return (
        _is_dense_image(p)
        and wide
        and forms_of_y.more_rows(p.x, p.w, p.window) == 1
        and _flops(p) > WORTH_ALL_CORES
    )


def _is_taps(p: Problem) -> bool:
    window, (inputs, o), places = p.window, p.w[-2:], math.prod(p.k)
    plain = p.groups == 1 and p.dtype == jnp.float32
    unit = _ones(window.strides, window.lhs_dilation)
    few = o <= FEW_OUTPUTS and places * o <= SUMS_OF_A_CHANNEL * inputs
    return plain and unit and places > 1 and few


def _is_phased_depthwise(p: Problem) -> bool:
    return p.depthwise and _is_dilated(p)


def _is_onednn(p: Problem) -> bool:
    axes, o = len(p.k), p.w[-1]
    if p.depthwise:
        suits = axes > 1 and o == p.groups
    elif p.groups > 1:
        suits = axes > 1 and min(p.w[-2], o // p.groups) >= FEW_IN_A_GROUP
    else:
        suits = o > FEW_OUTPUTS or axes == 3
    return suits and onednn.fits(p)


def _always(p: Problem) -> bool:
    del p
    return True


FORMS_OF_Y = (
    Form("taps", _is_taps, forms_of_y.taps),
    Form("shifted", _is_few_products, forms_of_y.shifted),
    Form("onednn", _is_onednn, onednn.run),
    Form("phased", _is_phased_depthwise, forms_of_y.phased),
    Form("shifted", _is_shifted, forms_of_y.shifted),
    Form("split", _is_split, forms_of_y.split),
    Form("subpixel", _is_subpixel, forms_of_y.subpixel),
    Form("phased", _is_phased, forms_of_y.phased),
    Form("tiled", _is_tiled, forms_of_y.tiled),
    Form("all_cores", _is_all_cores, forms_of_y.all_cores),
    Form("plain", _always, plain.correlation),
)


def _is_onednn_dw(p: Problem) -> bool:
    few, most = sorted((p.x[-1] // p.groups, p.w[-1] // p.groups))
    axes = len(p.k)
    if p.groups > 1:
        enough = few >= FEW_IN_A_GROUP
    elif jnp.dtype(p.dtype).itemsize < 4:
        enough = few >= ENOUGH_OF_NARROW
    elif axes == 2:
        of_few_examples = p.x[0] <= onednn_dw.FEW_TO_TRANSPOSE and few >= FEW_OUTPUTS
        enough = few > 1 and (few * most >= ENOUGH_PRODUCTS or of_few_examples)
    else:
        enough = few >= ENOUGH_OF_BOTH[axes]
    return not p.depthwise and enough and onednn.fits(p)


def _is_narrower(p: Problem) -> bool:
    # oneDNN sums into a vector of outputs at a time: they should be the more of the two.
    if not (_is_dense_dw(p) and p.w[-1] < p.x[-1] and p.w[-1] <= FEW_CHANNELS):
        return False
    window = forms_of_dw.window_of_exchanged(p.window, p.x[1:-1], p.m, p.k)
    return _is_onednn_dw(replace(p, c=p.c.with_(window=window), x=p.w, w=p.x))


def _is_few_examples(p: Problem) -> bool:
    few = p.groups >= MOST_GROUPS and p.x[0] < FEW_EXAMPLES
    return few and len(p.k) > 1 and _is_onednn_dw(p) and _has_planes(p)


def _is_planes(p: Problem) -> bool:
    # What oneDNN cannot take with three axes it can with two.
    return len(p.k) == 3 and _has_planes(p)


def _has_planes(p: Problem) -> bool:
    if p.depthwise or p.k[0] > MOST_PLANES:
        return False
    plane = replace(
        p,
        c=p.c.with_(window=forms_of_dw.of_axes(p.window, slice(1, None))),
        x=(p.x[0] * p.m[0], *p.x[2:]),
        w=(p.w[0] * p.m[0], *p.w[2:]),
    )
    return p.window.lhs_dilation[0] == 1 and onednn.fits(plane)


def _is_patches(p: Problem) -> bool:
    inputs, o = p.x[-1], p.w[-1]
    if len(p.k) == 1:
        many, most = o > FEW_OUTPUTS, MOST_PATCHES_OF_A_LINE
    else:
        many, most = o >= max(MANY_OUTPUTS, OUTPUTS_OF_A_CHANNEL * inputs), MOST_PATCHES
    return many and p.groups == 1 and _in_cache(p) and inputs * math.prod(p.k) <= most


def _is_pairs(p: Problem) -> bool:
    of_a_group = p.x[-1] // p.groups * (p.w[-1] // p.groups)
    return p.groups > MOST_GROUPS and of_a_group <= MOST_PAIRS and math.prod(p.k) <= MOST_TAPS


def _is_pointwise(p: Problem) -> bool:
    return _is_product(p) and _ones(p.k)


def _is_product(p: Problem) -> bool:
    window = p.window
    apart = _apart(p.k, window.rhs_dilation, window.strides)
    return p.groups == 1 and p.dtype == jnp.float32 and _ones(window.lhs_dilation) and apart


def _is_dense_dw(p: Problem) -> bool:
    window = p.window
    return p.groups == 1 and _ones(window.strides, window.rhs_dilation)


def _is_dilated_dw(p: Problem) -> bool:
    return _is_dense_dw(p) and not _ones(p.window.lhs_dilation)


def _in_cache(p: Problem) -> bool:
    # Several devices would exchange the sum of every part: many times the traffic.
    plain = p.target.one_device and p.dtype == jnp.float32 and _ones(p.window.lhs_dilation)
    return plain and not p.depthwise and p.groups <= MOST_GROUPS


def _is_rows(p: Problem) -> bool:
    n, axes = p.x[0], len(p.k)
    widest = max(p.x[-1], p.w[-1]) // p.groups
    many = n * math.prod(p.m[:-1]) >= WORTH_ROWS and (axes > 1 or parts_in_cache(p.x, p.w) > 1)
    wide = widest > FEW_CHANNELS or (
        widest == FEW_CHANNELS and (p.groups > 1 or n < WORTH_QUARTERS)
    )
    return _in_cache(p) and math.prod(p.k[:-1]) <= FEW_CHANNELS and many and wide


def _is_exchanged_dw(p: Problem) -> bool:
    # The kernel should be the wider of the two.
    return _is_rows(p) and _is_dense_dw(p) and p.x[-1] > p.w[-1]


def _is_quarters(p: Problem) -> bool:
    few_rows = math.prod(p.k[:-1]) <= FEW_CHANNELS
    n = p.x[0]
    image = p.groups == 1 and len(p.k) == 2
    worth = n >= WORTH_QUARTERS and n * max(p.x[-1], p.w[-1]) >= WORTH_NARROW_QUARTERS
    return _in_cache(p) and few_rows and image and n % 4 == 0 and worth


def _is_split_dw(p: Problem) -> bool:
    return 1 < p.groups <= MOST_GROUPS and not p.depthwise and _ones(p.window.lhs_dilation)


FORMS_OF_DW = (
    Form("product", _is_pointwise, forms_of_dw.product),
    Form("planes", _is_few_examples, forms_of_dw.planes),
    Form("patches", _is_patches, forms_of_dw.patches),
    Form("exchanged", _is_narrower, forms_of_dw.exchanged),
    Form("onednn", _is_onednn_dw, onednn.run),
    Form("planes", _is_planes, forms_of_dw.planes),
    Form("product", _is_product, forms_of_dw.product),
    Form("shifted", _is_shifted, forms_of_dw.shifted),
    Form("pairs", _is_pairs, forms_of_dw.pairs),
    Form("exchanged", _is_dilated_dw, forms_of_dw.exchanged),
    Form("exchanged", _is_exchanged_dw, forms_of_dw.exchanged),
    Form("rows", _is_rows, forms_of_dw.rows),
    Form("quarters", _is_quarters, forms_of_dw.quarters),
    Form("split", _is_split_dw, forms_of_dw.split),
    Form("plain", _always, plain.correlation),
)
# XLA would fuse these with what reads y, and compute them anew for every place that is read.
APART = ("shifted", "tiled")
NAMES = tuple(dict.fromkeys(form.name for form in (*FORMS_OF_Y, *FORMS_OF_DW)))


def table(c: Correlation) -> tuple[Form, ...]:
    """The forms of a sum, the first that fits first."""
    return FORMS_OF_DW if c.over_batch else FORMS_OF_Y


def choose(p: Problem) -> Form:
    """The first form that fits, or the one that is forced."""
    forms = table(p.c)
    for form in forms:
        if form.name == p.c.form and (form.name != "onednn" or form.fits(p)):
            return form
    if p.target.platform != "cpu" or p.target.export:
        return forms[-1]
    return next(form for form in forms if form.fits(p))


def better_widened(p: Problem, form: Form) -> bool:
    """Whether operands of 16 bits are better put to XLA in float32, and the result rounded.

    XLA:CPU has no kernels for them and widens them itself, but late, and the forms for float32 are
    lost. oneDNN has its own.
    """
    narrow = jnp.issubdtype(p.dtype, jnp.floating) and jnp.dtype(p.dtype).itemsize < 4
    return narrow and form.name != "onednn" and p.target.platform == "cpu" and not p.target.export


def run(
    x: jax.Array, w: jax.Array, b: jax.Array | None = None, *, c: Correlation, form: Form
) -> jax.Array:
    """The correlation by this form, with its bias and its activation."""
    if form.name == "onednn":
        return onednn.run(x, w, c, b)
    # Inside the form that was forced, the nested choices are free.
    inner = c.with_(activation=None, form=FREE if c.form == form.name else c.form)

    def finished(x: jax.Array, w: jax.Array, b: jax.Array | None) -> jax.Array:
        y = form.run(x, w, inner).astype(c.dtype or x.dtype)
        return plain.finished(y, b, c.activation)

    alone = form.name in APART and c.groups == 1 and not c.over_batch
    return (apart(finished) if alone else finished)(x, w, b)
