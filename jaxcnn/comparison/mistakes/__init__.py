"""The usual mistakes of a layer's rule, each as the gradient that it would give.

A mistake is planted in the function that is differentiated automatically: in its correlations,
windows and products where they stand in the trace, or in its cotangents and fixed arguments.
"""

from .pooling import windows as windows
from .scene import Scene as Scene
from .usual import usual_mistakes as usual_mistakes
