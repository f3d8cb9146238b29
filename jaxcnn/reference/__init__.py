"""The layers of jaxcnn left to autodiff: the twin that every hand-written rule is compared with.

The names, signatures and conventions are those of the package, and no layer is imported, so
swapping the module swaps every gradient:

>>> import jax, jax.numpy as jnp, jaxcnn
>>> from jaxcnn import reference
>>> x = jnp.array([-1.0, 0.0, 2.0])
>>> by_rule, by_autodiff = (jax.grad(lambda x: layers.relu(x).sum())(x)
...                         for layers in (jaxcnn, reference))
>>> bool((by_rule == by_autodiff).all())
True

It is also what to use where `jax.jvp(f)` is wanted, which no `jax.custom_vjp` can give.

Every function is what one would write with lax, and where lax has no gradient (a dilated max-pool)
or another convention (how ties are shared), an evident formulation on stacked windows. Options are
checked lightly, by whatever lax says of them. Autodiff departs from the package in four places,
all of them values at which the layer has no derivative:

- `max_pool`, a NaN in a window: the gradient goes to another element of the window, or becomes NaN.
- `max_pool` with padding, a window whose every element is -inf: the padding takes the gradient.
- `max_pool` with ties="all", an infinite maximum: no gradient.
- `softmax_cross_entropy`, a zero label on a logit of -inf: the label's gradient is 0.
"""

from .activation import relu as relu
from .activation import softmax as softmax
from .convolution import conv as conv
from .convolution import conv_general_dilated as conv_general_dilated
from .convolution import conv_transpose as conv_transpose
from .linear import dense as dense
from .loss import softmax_cross_entropy as softmax_cross_entropy
from .loss import (
    softmax_cross_entropy_with_integer_labels as softmax_cross_entropy_with_integer_labels,
)
from .pooling import avg_pool as avg_pool
from .pooling import max_pool as max_pool
