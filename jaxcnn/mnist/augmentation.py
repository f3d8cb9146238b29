"""Random changes of images that leave the digit what it is, drawn anew at every step.

Each augmentation is a function `(key, images) -> images` over floats `[N, 28, 28, 1]`, pure and
jittable: it runs inside the training step, on the device.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

Augmentation = Callable[[jax.Array, jax.Array], jax.Array]


def shift(pixels: int) -> Augmentation:
    """Move each image by up to so many whole pixels along both axes; paper (0) comes in.

    Examples:
        >>> image = jnp.zeros((1, 5, 5, 1)).at[0, 2, 2, 0].set(1.0)
        >>> moved = shift(1)(jax.random.key(0), image)
        >>> moved.shape, float(moved.sum())
        ((1, 5, 5, 1), 1.0)
    """

    def augment(key: jax.Array, images: jax.Array) -> jax.Array:
        n, height, width, _ = images.shape
        offsets = jax.random.randint(key, (n, 2), 0, 2 * pixels + 1)
        border = ((0, 0), (pixels, pixels), (pixels, pixels), (0, 0))
        padded = jnp.pad(images, border)

        def crop(image: jax.Array, offset: jax.Array):
            return jax.lax.dynamic_slice(image, (offset[0], offset[1], 0), (height, width, 1))

        return jax.vmap(crop)(padded, offsets)

    return augment


def affine(*, degrees: float, scale: float, shear: float, pixels: float) -> Augmentation:
    """Turn, scale, shear and move each image at random; bilinear, paper (0) comes in.

    Every quantity is uniform in plus or minus its bound.

    Args:
        degrees: of rotation about the centre.
        scale: of each axis on its own, as a share of its length.
        shear: pixels of horizontal slant per pixel of height.
        pixels: of translation along each axis.

    Examples:
        >>> image = jnp.ones((1, 7, 7, 1))
        >>> still = affine(degrees=0, scale=0, shear=0, pixels=0)(jax.random.key(0), image)
        >>> bool(jnp.allclose(still, image))
        True
    """
    bounds = np.array([np.deg2rad(degrees), scale, scale, shear, pixels, pixels])

    def augment(key: jax.Array, images: jax.Array) -> jax.Array:
        n, height, width, _ = images.shape
        dtype = images.dtype
        random = jax.random.uniform(key, (n, 6), dtype, -1, 1) * jnp.asarray(bounds, dtype)
        angle, scale_y, scale_x, slant, dy, dx = random.T[:, :, None, None]
        y = jnp.arange(height, dtype=dtype)[:, None] - (height - 1) / 2
        x = jnp.arange(width, dtype=dtype)[None, :] - (width - 1) / 2
        # Where in the old image each pixel of the new one lies.
        u = (jnp.cos(angle) * y - jnp.sin(angle) * x) * (1 + scale_y)
        v = (jnp.sin(angle) * y + jnp.cos(angle) * x) * (1 + scale_x) + slant * y
        u, v = u + dy + (height - 1) / 2, v + dx + (width - 1) / 2
        return jax.vmap(_bilinear)(images[..., 0], u, v)[..., None]

    return augment


def _bilinear(image: jax.Array, u: jax.Array, v: jax.Array) -> jax.Array:
    height, width = image.shape
    # One row and column of paper around, on which everything outside falls.
    flat = jnp.pad(image, 1).reshape(-1)
    u = jnp.clip(u + 1, 0, height + 1)
    v = jnp.clip(v + 1, 0, width + 1)
    top = jnp.minimum(jnp.floor(u), height)
    left = jnp.minimum(jnp.floor(v), width)
    a, b = u - top, v - left
    corner = top.astype(jnp.int32) * (width + 2) + left.astype(jnp.int32)

    def at(offset: int) -> jax.Array:
        return flat.at[corner + offset].get(mode="promise_in_bounds")

    return (1 - a) * ((1 - b) * at(0) + b * at(1)) + a * (
        (1 - b) * at(width + 2) + b * at(width + 3)
    )
