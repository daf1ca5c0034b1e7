"""What a balance term can ask of the experts of a layer, as functions of tensors; expert_balance.py says what each
is for.

Means and sums are over valid tokens, of the softmax of the router; N is the number of experts.
"""

from collections.abc import Sequence

import torch

TINY = 1e-10  # of the authors' code, below the squared mean


def preference(expert_types: Sequence[int], row_types: Sequence[int], delta: float, sign: str) -> torch.Tensor:
    """I, [row types, experts]."""
    same = torch.tensor(row_types).unsqueeze(-1) == torch.tensor(expert_types)
    matching = 1 - delta if sign == "attract" else 1 + delta
    return torch.where(same, matching, 2 - matching)


def type_cv2(means: torch.Tensor, prefer: torch.Tensor) -> torch.Tensor:
    """[...] from mean probabilities [..., types, experts]; a type without tokens has zeros there and adds nothing."""
    z = prefer * means
    return (z.var(-1, correction=0) / (z.mean(-1) ** 2 + TINY)).sum(-1)


def sample_cv2(means: torch.Tensor, prefer: torch.Tensor) -> torch.Tensor:
    """[...] from the mean probabilities [..., rows, experts] of each row and I of each row, [rows, experts]."""
    z = (prefer * means).flatten(-2)
    return z.var(-1) / (z.mean(-1) ** 2 + TINY)


def sample_var_mean(sums: torch.Tensor, prefer: torch.Tensor) -> torch.Tensor:
    """[...] from the summed probabilities [..., rows, experts] of the tokens of each row, and I as in `sample_cv2`.

    The mean is not squared, so this grows with the length of rows, and a weight is one for rows of that length.
    """
    z = (prefer * sums).flatten(-2)
    return z.var(-1) / z.mean(-1)


def lbl(means: torch.Tensor, used: torch.Tensor) -> torch.Tensor:
    """[...] from mean probabilities [..., experts] and the mean weights that were used (1 at equal use, N at most).

    The weights are a soft count: with top_k = 1 they are the share of tokens that the paper counts.
    """
    return means.shape[-1] * (used.detach() * means).sum(-1)


def mi(means: torch.Tensor, entropy: torch.Tensor) -> torch.Tensor:
    """[...] -I(expert; token) = mean entropy [...] of a token's probabilities - entropy of their means [..., experts].

    -log N where tokens are sure of their expert and use all alike; 0 where they are unsure, or all take one.
    ModuleFormer, arXiv 2306.04640, in its released code.
    """
    return entropy - entropies(means)


def entropies(distribution: torch.Tensor) -> torch.Tensor:
    """[...] in nats, of [..., experts]; the gradient at a probability of 0 is finite."""
    return -(distribution * distribution.clamp(min=1e-20).log()).sum(-1)
