"""Hand-written gradients compared with automatic and numerical ones, leaf by leaf."""

from .gradients import assert_gradients_match as assert_gradients_match
from .gradients import compare as compare
from .result import Comparison as Comparison
