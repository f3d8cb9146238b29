"""Pictures of a run, each a function that returns a Matplotlib `Figure`.

No figure is registered with pyplot, so nothing has to be closed and no display is needed.
"""

from .confusion import confusion_matrix as confusion_matrix
from .filters import filters as filters
from .learning import learning_curves as learning_curves
from .mistakes import worst_mistakes as worst_mistakes
from .network import activation_figure as activation_figure
from .network import gradient_figure as gradient_figure
