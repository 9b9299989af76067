"""Settings of all tests."""

import torch

# Several threads on tensors as small as those of most tests take longer than one.
torch.set_num_threads(1)
