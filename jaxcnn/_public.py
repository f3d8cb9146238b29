"""The public names of `jaxcnn`, and where each is defined."""

from . import reference as reference
from .activation import relu as relu
from .activation import softmax as softmax
from .comparison import assert_gradients_match as assert_gradients_match
from .comparison import compare as compare
from .convolution import conv as conv
from .convolution import conv_transpose as conv_transpose
from .drop_in import conv_general_dilated as conv_general_dilated
from .linear import dense as dense
from .loss import softmax_cross_entropy as softmax_cross_entropy
from .loss import (
    softmax_cross_entropy_with_integer_labels as softmax_cross_entropy_with_integer_labels,
)
from .pooling import avg_pool as avg_pool
from .pooling import max_pool as max_pool
