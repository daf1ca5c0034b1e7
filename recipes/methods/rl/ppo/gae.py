"""Generalised advantage estimation on padded batches, and statistics over the valid tokens of all ranks.

Every tensor is [B, T]: B replies, padded on the right to T tokens; `mask` is 1 for a token of the reply, 0 for padding.
"""

import torch


def terminal_rewards(score: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """[B, T] rewards: `score` [B] at the last token of each reply, 0 elsewhere; an empty reply gets none."""
    rewards = torch.zeros(mask.shape, dtype=torch.float32, device=mask.device)
    filled = mask.any(dim=1)
    last = mask.sum(dim=1).long() - 1
    rewards[filled, last[filled]] = score[filled].float()
    return rewards


def gae(rewards, values, mask, gamma: float, lam: float) -> tuple[torch.Tensor, torch.Tensor]:
    """(advantages, returns), each [B, T] and 0 on padding.

    delta_t = r_t + gamma V_{t+1} - V_t with V = 0 after the last token, A_t = sum_l (gamma lam)^l delta_{t+l},
    returns = A + V (Schulman et al., arXiv 1506.02438, eq. 16; ReFT, arXiv 2401.08967, section 3.2).
    """
    rewards, values = rewards.float() * mask, values.float() * mask
    advantages = torch.zeros_like(values)
    later = after = torch.zeros_like(values[:, 0])
    for t in reversed(range(values.size(1))):
        later = rewards[:, t] + gamma * after - values[:, t] + gamma * lam * later
        after = values[:, t]
        advantages[:, t] = later
    return advantages, advantages + values


def moments(tensors, mask, total=lambda sums: sums) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """(mean, variance) of each tensor over the valid tokens of all ranks; the variance divides by their number.

    `total` adds a vector over the ranks (`accelerator.reduce`). Sums are taken in float64.
    """
    valid = mask.bool()
    kept = [tensor[valid].double() for tensor in tensors]
    sums = total(torch.stack([valid.sum().double(), *(s for x in kept for s in (x.sum(), x.square().sum()))]))
    count, found = sums[0].clamp(min=1.0), []
    for mean, square in (sums[1:].view(-1, 2) / count).unbind():
        found.append((mean, (square - mean.square()).clamp(min=0.0)))
    return found


def whiten(advantages, mask, total=lambda sums: sums) -> torch.Tensor:
    """(A - mean) / sqrt(variance + 1e-8) over the valid tokens of all ranks, 0 on padding."""
    ((mean, variance),) = moments([advantages], mask, total)
    return ((advantages.double() - mean) / (variance + 1e-8).sqrt()).float() * mask
