"""Which form dw takes: of an ordered table the first that fits."""

import math
from dataclasses import replace

import jax.numpy as jnp

from . import forms_of_dw, neighbours, onednn, onednn_dw, plain
from .correlation import Problem
from .form import (
    FEW_CHANNELS,
    FEW_IN_A_GROUP,
    FEW_OUTPUTS,
    MOST_GROUPS,
    MOST_TAPS,
    Form,
    always,
    flops,
    is_shifted,
    ones,
    patches,
)
from .parts import parts_in_cache

# oneDNN sums over the examples; of fewer, in as many groups, the rows belong to the sum as well.
FEW_EXAMPLES = 16
# A pair of channels is a copy of one of x and of one of g.
MOST_PAIRS = 64
# So many rows of patches are soon written, for so many outputs; with more than one channel, for at
# least so many to each row.
MOST_PATCHES = 27
MANY_OUTPUTS = 32
OUTPUTS_OF_A_ROW = 3.5
# Of one example that means to so many outputs; by more taps it is as soon done by XLA's own.
OUTPUTS_OF_ONE_EXAMPLE = 256
# So many elements that all taps see of few channels one core has written before oneDNN has begun.
FEW_PATCHES = 3e4
# On one axis of any channels: they are as many rows.
FEW_PATCHES_OF_A_LINE = 5e4
# Less work than this, of one example to a vector or two, is as soon done by XLA's own, in
# multiplications and additions.
LITTLE = 4e6
VECTORS = 32
MOST_PATCHES_OF_A_LINE = 12
# dw by oneDNN copies what every tap sees: for fewer products of channels, or of fewer channels on
# one axis or three, there is too little to compute for that.
ENOUGH_PRODUCTS = 24
ENOUGH_OF_BOTH = {1: 8, 3: 2}
# By themselves groups so wide need no transposed x.
WIDE_GROUPS = 32
# Of 16 bits x has to be transposed for it.
ENOUGH_OF_NARROW = 8
# A tap of the first axis is a sum of its own.
MOST_PLANES = 8
# A quarter of less is too little to share out: examples, and examples times the wider channels.
WORTH_QUARTERS = 64
WORTH_NARROW_QUARTERS = 512
# Fewer sums than this in a kernel's row do not pay for the transposed copies.
WORTH_ROWS = 128


def _apart(k: tuple[int, ...], strides: tuple[int, ...], dilation: tuple[int, ...]) -> bool:
    """Whether windows of these sizes, so far from each other, do not meet."""
    return all(
        ki == 1 or (d == 1 and ki <= s) for ki, s, d in zip(k, strides, dilation, strict=True)
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


def _is_wide_groups(p: Problem) -> bool:
    few = min(p.x[-1], p.w[-1]) // p.groups
    dense = p.dtype == jnp.float32 and 1 < p.groups <= MOST_GROUPS
    return dense and few >= WIDE_GROUPS and onednn.fits(p)


def _is_narrower(p: Problem) -> bool:
    # oneDNN sums into a vector of outputs at a time: they should be the more of the two.
    if not (_is_dense_dw(p) and p.w[-1] < p.x[-1] and p.w[-1] <= FEW_CHANNELS):
        return False
    window = forms_of_dw.window_of_exchanged(p.window, p.x[1:-1], p.m, p.k)
    exchanged = replace(p, c=p.c.with_(window=window), x=p.w, w=p.x)
    return _is_onednn_dw(exchanged) or _is_neighbours(exchanged)


def _is_neighbours(p: Problem) -> bool:
    # Of more inputs than outputs the two are exchanged, where they can be.
    most = p.w[-1] if _is_dense_dw(p) else FEW_CHANNELS
    enough = p.x[0] > onednn_dw.FEW_TO_TRANSPOSE and p.x[-1] <= most
    # The sum of each place is rounded to the dtype of the operands: of 16 bits that is to be seen.
    return enough and p.dtype == jnp.float32 and neighbours.fits(p)


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
    rows = inputs * math.prod(p.k)
    if len(p.k) == 1:
        many, most = o > FEW_OUTPUTS, MOST_PATCHES_OF_A_LINE
    else:
        many = o >= MANY_OUTPUTS and (inputs == 1 or o >= OUTPUTS_OF_A_ROW * rows)
        most = MOST_PATCHES
    return many and p.groups == 1 and _in_cache(p) and rows <= most


def _is_few_patches(p: Problem) -> bool:
    few = p.x[-1] < FEW_CHANNELS and patches(p) <= FEW_PATCHES
    few |= len(p.k) == 1 and patches(p) <= FEW_PATCHES_OF_A_LINE
    few |= _is_one_to_many(p) and patches(p) < math.inf
    return few and _in_cache(p)


def _is_one_image(p: Problem) -> bool:
    return p.x[0] == 1 and len(p.k) == 2 and p.groups == 1 and _in_cache(p)


def _is_one_to_many(p: Problem) -> bool:
    o = p.w[-1]
    many = o >= OUTPUTS_OF_ONE_EXAMPLE and p.x[-1] * math.prod(p.k) <= o
    return many and _is_one_image(p)


def _is_little(p: Problem) -> bool:
    wide = p.x[-1] >= FEW_CHANNELS and p.w[-1] >= VECTORS
    return wide and flops(p) <= LITTLE and _is_one_image(p)


def _is_pairs(p: Problem) -> bool:
    of_a_group = p.x[-1] // p.groups * (p.w[-1] // p.groups)
    return p.groups > MOST_GROUPS and of_a_group <= MOST_PAIRS and math.prod(p.k) <= MOST_TAPS


def _is_pointwise(p: Problem) -> bool:
    return _is_product(p) and ones(p.k)


def _is_product(p: Problem) -> bool:
    window = p.window
    apart = _apart(p.k, window.rhs_dilation, window.strides)
    return p.groups == 1 and p.dtype == jnp.float32 and ones(window.lhs_dilation) and apart


def _is_dense_dw(p: Problem) -> bool:
    window = p.window
    return p.groups == 1 and ones(window.strides, window.rhs_dilation)


def _is_dilated_dw(p: Problem) -> bool:
    return _is_dense_dw(p) and not ones(p.window.lhs_dilation)


def _in_cache(p: Problem) -> bool:
    # Several devices would exchange the sum of every part: many times the traffic.
    plain = p.target.one_device and p.dtype == jnp.float32 and ones(p.window.lhs_dilation)
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
    return 1 < p.groups <= MOST_GROUPS and not p.depthwise and ones(p.window.lhs_dilation)


FORMS_OF_DW = (
    Form("product", _is_pointwise, forms_of_dw.product),
    Form("planes", _is_few_examples, forms_of_dw.planes),
    Form("patches", _is_patches, forms_of_dw.patches),
    Form("patches", _is_few_patches, forms_of_dw.patches),
    Form("plain", _is_one_to_many, plain.correlation),
    Form("plain", _is_little, plain.correlation),
    Form("exchanged", _is_narrower, forms_of_dw.exchanged),
    Form("split", _is_wide_groups, forms_of_dw.split),
    Form("neighbours", _is_neighbours, neighbours.dw),
    Form("onednn", _is_onednn_dw, onednn.run),
    Form("planes", _is_planes, forms_of_dw.planes),
    Form("product", _is_product, forms_of_dw.product),
    Form("shifted", is_shifted, forms_of_dw.shifted),
    Form("pairs", _is_pairs, forms_of_dw.pairs),
    Form("exchanged", _is_dilated_dw, forms_of_dw.exchanged),
    Form("exchanged", _is_exchanged_dw, forms_of_dw.exchanged),
    Form("rows", _is_rows, forms_of_dw.rows),
    Form("quarters", _is_quarters, forms_of_dw.quarters),
    Form("split", _is_split_dw, forms_of_dw.split),
    Form("plain", always, plain.correlation),
)
