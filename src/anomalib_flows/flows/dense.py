"""Networks for couplings of single feature vectors, with a condition or without."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anomalib_flows.flows.bijection import Condition


class DenseSubnet(nn.Module):
    r"""Two dense layers of a feature vector x and a condition c.

    .. math::
        a = W_2\, \mathrm{relu}(W_x x + W_c c + b_1) + b_2

    Args:
        inputs: Length of x.
        outputs: Length of a.
        condition: Length D of c; 0 for a network without a condition.
        width: Hidden units, as a multiple of the sum of the lengths of x and c.

    References:
        CFLOW-AD (Gudovskiy et al., 2021), https://arxiv.org/abs/2107.12571, whose networks are twice as wide.

    Example:
        >>> net = DenseSubnet(3, 4, condition=8)
        >>> net(torch.randn(5, 3), condition_on(torch.randn(5, 8))).shape
        torch.Size([5, 4])
    """

    def __init__(self, inputs: int, outputs: int, condition: int = 0, width: int = 2) -> None:
        super().__init__()
        hidden = width * (inputs + condition)
        self.inputs = inputs
        self.inner = nn.Linear(inputs + condition, hidden)
        self.outer = nn.Linear(hidden, outputs)

    def forward(self, x: Tensor, condition: Condition | None = None) -> Tensor:
        """Return a of shape (N, outputs) for x of shape (N, inputs).

        Raises:
            ValueError: If the network was made for a condition and gets none.
        """
        weight = self.inner.weight
        of_x, of_condition = torch.split(weight, [self.inputs, weight.shape[1] - self.inputs], dim=1)
        if condition is None and of_condition.numel():
            raise ValueError("This network needs a condition: pass one, such as condition_on(c).")
        hidden = F.linear(x, of_x, self.inner.bias)
        if condition is not None:
            hidden = condition(hidden, of_condition)
        a: Tensor = self.outer(F.relu(hidden, inplace=True))
        return a


def condition_on(c: Tensor) -> Condition:
    """Return the condition with one row for each feature vector in a tensor (N, D).

    Example:
        >>> condition_on(torch.ones(2, 3))(torch.zeros(2, 1), torch.ones(1, 3)).tolist()
        [[3.0], [3.0]]
    """
    return lambda hidden, weight: hidden + F.linear(c, weight)
