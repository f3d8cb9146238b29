"""Which form y takes, and dx: of an ordered table the first that fits."""

import math

import jax.numpy as jnp

from . import forms_of_y, neighbours, onednn, plain
from .correlation import Problem
from .form import (
    FEW_CHANNELS,
    FEW_IN_A_GROUP,
    FEW_OUTPUTS,
    MOST_GROUPS,
    Form,
    always,
    flops,
    is_shifted,
    ones,
    patches,
)
from .tile import tile

# Each channel at each tap is a product more of each output; to more outputs another form is faster.
MOST_PRODUCTS = 50
MOST_PRODUCTS_OF_ALL = 216
# So few, 3x3 of one channel, are the faster way to so many outputs as well.
PRODUCTS_TO_MANY, MOST_OUTPUTS = 9, 1024
# As channels of one convolution, more phases than this are mostly zeros to multiply with.
MOST_SUBPIXELS = 72
# Of so many channels summed into few, XLA's own dilated convolution is as fast as any.
MANY_INPUTS = 256
# What each tap adds to each output is written down: at most so many times what is read.
SUMS_OF_A_CHANNEL = 3
SUMS_OF_ONE_OUTPUT = 7
# To so many outputs it pays where less is written than read: half of a vector of oneDNN's is idle.
HALF_A_VECTOR = 8
# Less work than this is done before the other cores have started, in multiplications and additions.
WORTH_ALL_CORES = 2e7
# And less than this before oneDNN has shared it out: of layers as wide as ENOUGH_CHANNELS, of wider
# ones, of one channel to many or 1x1, which XLA makes a matrix product, of wide layers of one axis,
# and of one wide example.
LITTLE, LITTLE_AND_WIDE, LITTLE_PRODUCT, LITTLE_ALONG, LITTLE_OF_ONE = 2e6, 5e6, 7e6, 9e6, 1.5e7
ENOUGH_CHANNELS = 8
MANY_CHANNELS = 32
# XLA shares out the places of one example.
ENOUGH_PLACES = 128
# XLA's own skips the zeros of a dilated input; all other ways are several convolutions.
ENOUGH_CHANNELS_OF_DILATED = 3
# Neighbouring places read the same x: of fewer channels that is little.
ENOUGH_INPUTS = 3
# So many elements that all taps see one core has written as soon; or so many, for a y so much
# larger.
FEW_PATCHES = 4e4
FEW_PATCHES_OF_MANY_OUTPUTS, OUTPUTS_OF_A_PATCH = 6e4, 8


def _is_few_products(p: Problem) -> bool:
    products = math.prod(p.w[:-1])
    few = products <= MOST_PRODUCTS and products * p.w[-1] <= MOST_PRODUCTS_OF_ALL
    few |= products <= PRODUCTS_TO_MANY and p.w[-1] <= MOST_OUTPUTS
    return few and p.groups == 1 and p.dtype == jnp.float32 and ones(p.window.lhs_dilation)


def _is_of_one_channel(p: Problem) -> bool:
    return p.w[-2] == 1 and math.prod(p.k) <= PRODUCTS_TO_MANY and _is_few_products(p)


def _is_split(p: Problem) -> bool:
    return (
        p.groups > 1 and not p.depthwise and p.groups // forms_of_y.merged(p.w, p.c) <= MOST_GROUPS
    )


def _is_dilated(p: Problem) -> bool:
    window = p.window
    dilated = not ones(window.lhs_dilation)
    return dilated and ones(window.rhs_dilation, window.strides)


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
    return image and p.groups == 1 and ones(p.window.lhs_dilation)


def _is_tiled(p: Problem) -> bool:
    unit = ones(p.window.strides, p.window.rhs_dilation)
    return _is_dense_image(p) and unit and tile(p.x, p.w, p.window) != (1, 1)


def _is_all_cores(p: Problem) -> bool:
    fewest, most = sorted((p.x[-1], p.w[-1]))
    wide = fewest >= FEW_CHANNELS and most > FEW_CHANNELS
    return (
        _is_dense_image(p)
        and wide
        and forms_of_y.more_rows(p.x, p.w, p.window) == 1
        and flops(p) > WORTH_ALL_CORES
    )


def _is_taps(p: Problem) -> bool:
    window, (inputs, o), places = p.window, p.w[-2:], math.prod(p.k)
    plain = p.groups == 1 and p.dtype == jnp.float32
    unit = ones(window.strides, window.lhs_dilation)
    few = o <= HALF_A_VECTOR and places * o <= inputs
    few |= o <= FEW_OUTPUTS and places * o <= SUMS_OF_A_CHANNEL * inputs
    few |= o == 1 and inputs >= FEW_OUTPUTS and places <= SUMS_OF_ONE_OUTPUT * inputs
    return plain and unit and places > 1 and few


def _is_few_patches(p: Problem) -> bool:
    size, inputs, o = patches(p), math.prod(p.w[:-1]), p.w[-1]
    many = OUTPUTS_OF_A_PATCH * inputs <= o and size <= FEW_PATCHES_OF_MANY_OUTPUTS
    return many or (o >= ENOUGH_CHANNELS and size <= FEW_PATCHES)


def _is_little(p: Problem) -> bool:
    dense = p.groups == 1 and p.dtype == jnp.float32 and len(p.k) <= 2
    return dense and flops(p) <= _little(p)


def _little(p: Problem) -> float:
    inputs, o = p.w[-2:]
    fewest = min(inputs, o)
    if not ones(p.window.lhs_dilation):
        if fewest >= MANY_CHANNELS:
            return LITTLE_AND_WIDE
        return LITTLE if fewest >= ENOUGH_CHANNELS_OF_DILATED else 0
    if (inputs == 1 and o >= MANY_CHANNELS) or (ones(p.k) and fewest >= ENOUGH_CHANNELS):
        return LITTLE_PRODUCT
    if p.x[0] == 1 and fewest >= MANY_CHANNELS and math.prod(p.m) >= ENOUGH_PLACES:
        return LITTLE_OF_ONE
    if fewest >= FEW_CHANNELS:
        return LITTLE_ALONG if len(p.k) == 1 else LITTLE_AND_WIDE
    return LITTLE if fewest >= ENOUGH_CHANNELS else 0


def _is_spread(p: Problem) -> bool:
    return p.depthwise and _is_dilated(p)


def _is_neighbours(p: Problem) -> bool:
    return p.x[-1] >= ENOUGH_INPUTS and neighbours.fits(p)


def _is_onednn(p: Problem) -> bool:
    axes, o = len(p.k), p.w[-1]
    if p.depthwise:
        suits = o == p.groups
    elif p.groups > 1:
        suits = axes > 1 and min(p.w[-2], o // p.groups) >= FEW_IN_A_GROUP
    else:
        suits = o > FEW_OUTPUTS or axes == 3
    return suits and onednn.fits(p)


FORMS_OF_Y = (
    Form("taps", _is_taps, forms_of_y.taps),
    Form("shifted", _is_of_one_channel, forms_of_y.shifted),
    Form("plain", _is_little, plain.correlation),
    Form("shifted", _is_few_products, forms_of_y.shifted),
    Form("patches", _is_few_patches, forms_of_y.patches),
    Form("neighbours", _is_neighbours, neighbours.y),
    Form("onednn", _is_onednn, onednn.run),
    Form("spread", _is_spread, forms_of_y.spread),
    Form("shifted", is_shifted, forms_of_y.shifted),
    Form("split", _is_split, forms_of_y.split),
    Form("subpixel", _is_subpixel, forms_of_y.subpixel),
    Form("phased", _is_phased, forms_of_y.phased),
    Form("tiled", _is_tiled, forms_of_y.tiled),
    Form("all_cores", _is_all_cores, forms_of_y.all_cores),
    Form("plain", always, plain.correlation),
)
