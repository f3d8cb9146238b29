"""The static record of a correlation, and the two sums it stands for.

Over channels (the forward pass, and dx with w flipped):

    y[n, i, o] = sum over a, c of  x[n, i * strides + a * rhs_dilation - low, c] * w[a, c, o]

Over the batch (dw, where g is the kernel):

    dw[a, c, o] = sum over n, i of  x[n, a * strides + i * rhs_dilation - low, c] * g[n, i, o]

Operands are canonical: x `[N, S.., C]`, w `[K.., C/G, O]`, y and g `[N, S'.., O]`.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from .._window import Window

Activation = Literal["relu"] | None
Shape = tuple[int, ...]
FREE = ""


@dataclass(frozen=True)
class Correlation:
    """All of a correlation that is static, hashable.

    Attributes:
        window: how the second operand slides over the first.
        over_batch: whether the batch is summed (dw) or the channels (y and dx).
        groups: blocks of channels that do not see each other.
        copies: how many of the groups, the outer ones, `jax.vmap` has made: whatever is in one, a
            NaN too, stays out of the others.
        precision: as in `jax.lax.conv_general_dilated`.
        dtype: of the result; None is that of the operands.
        activation: what is done to y, once the bias is added.
        sharding: of the result, where mesh axes are explicit; there XLA does it as it is.
        exchanged: whether w is another kernel with its channels exchanged, so that undoing it
            costs nothing.
        form: the name of the form to use where there is one of that name; None is what `using`
            forces, FREE to choose whatever it forces.
    """

    window: Window
    over_batch: bool = False
    groups: int = 1
    copies: int = 1
    precision: Any = None
    dtype: Any = None
    activation: Activation = None
    sharding: Any = None
    exchanged: bool = False
    form: str | None = None

    def with_(self, **changes: Any) -> "Correlation":
        """The same but for `changes`."""
        return dataclasses.replace(self, **changes)

    def linear(self) -> "Correlation":
        """The same without its activation."""
        return self.with_(activation=None)

    def of_dx(self, n: Shape, k: Shape, sharding: Any = None) -> "Correlation":
        """The sum over the channels of g and the flipped kernel that gives dx.

        Args:
            n: the spatial shape of the forward pass's input.
            k: the spatial shape of its kernel.
            sharding: of dx, where mesh axes are explicit.
        """
        window = self.window.of_dx(n, k)
        # Of what was exchanged before, this is the kernel itself.
        exchanged = not self.exchanged
        return self._transposed(
            window=window, over_batch=False, sharding=sharding, exchanged=exchanged
        )

    def of_dw(self, n: Shape, k: Shape, sharding: Any = None) -> "Correlation":
        """The sum over the batch of x and g that gives dw, and of a dw the forward pass again."""
        window = self.window.of_dw(n, k)
        return self._transposed(window=window, over_batch=not self.over_batch, sharding=sharding)

    def _transposed(self, **changes: Any) -> "Correlation":
        # A cotangent gets the dtype of its primal, and neither bias nor activation.
        return self.with_(**{"activation": None, "dtype": None, "exchanged": False, **changes})

    def output_shape(self, x: Shape, w: Shape) -> Shape:
        """The shape of the result for operands of these shapes."""
        if self.over_batch:
            k = self.window.output_shape(x[1:-1], w[1:-1])
            return (*k, x[-1] // self.groups, w[-1])
        return (x[0], *self.window.output_shape(x[1:-1], w[:-2]), w[-1])


@dataclass(frozen=True)
class Target:
    """What a program is compiled for.

    Attributes:
        platform: "cpu", or None for any other.
        one_device: whether the program sees one device: it has no other, or all mesh axes are
            manual. Else XLA partitions it.
        export: whether it is compiled to be kept, and so must not depend on this machine.
    """

    platform: str | None
    one_device: bool = True
    export: bool = False


@dataclass(frozen=True)
class Problem:
    """A correlation with the shapes and the dtype of its operands: what a form is chosen for."""

    c: Correlation
    x: Shape
    w: Shape
    dtype: Any
    target: Target

    @property
    def window(self) -> Window:
        """How the second operand slides over the first."""
        return self.c.window

    @property
    def groups(self) -> int:
        """Blocks of channels that do not see each other."""
        return self.c.groups

    @property
    def k(self) -> Shape:
        """The spatial shape of the layer's kernel: of w, or of dw."""
        return self.c.output_shape(self.x, self.w)[:-2] if self.c.over_batch else self.w[:-2]

    @property
    def m(self) -> Shape:
        """The spatial shape of y, or of g."""
        return self.w[1:-1] if self.c.over_batch else self.c.output_shape(self.x, self.w)[1:-1]

    @property
    def depthwise(self) -> bool:
        """Whether every input channel is a group of its own."""
        return self.x[-1] == self.groups > 1
