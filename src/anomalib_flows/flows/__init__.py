"""Normalizing flows in pure torch: one class for each bijection, with the methods ``forward`` and ``inverse``."""

from anomalib_flows.flows.bijection import Bijection, Condition
from anomalib_flows.flows.chain import Chain, Parallel, Split
from anomalib_flows.flows.coupling import AffineCoupling, Subnet
from anomalib_flows.flows.dense import DenseSubnet, condition_on
from anomalib_flows.flows.permutation import Permutation, SoftPermutation
from anomalib_flows.flows.scaling import GlobalAffine

__all__ = [
    "AffineCoupling",
    "Bijection",
    "Chain",
    "Condition",
    "DenseSubnet",
    "GlobalAffine",
    "Parallel",
    "Permutation",
    "SoftPermutation",
    "Split",
    "Subnet",
    "condition_on",
]
