"""Normalizing flows in pure torch: one bijection a class, ``forward`` and ``inverse`` as two methods."""

from anomalib_flows.flows.bijection import Bijection, Condition
from anomalib_flows.flows.chain import Chain
from anomalib_flows.flows.coupling import AffineCoupling, Subnet
from anomalib_flows.flows.dense import DenseSubnet, given
from anomalib_flows.flows.folded import FoldedFlow, fold
from anomalib_flows.flows.permutation import Permutation, SoftPermutation
from anomalib_flows.flows.scaling import GlobalAffine

__all__ = [
    "AffineCoupling",
    "Bijection",
    "Chain",
    "Condition",
    "DenseSubnet",
    "FoldedFlow",
    "GlobalAffine",
    "Permutation",
    "SoftPermutation",
    "Subnet",
    "fold",
    "given",
]
