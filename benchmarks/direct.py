"""The ceiling: gradient ascent through a differentiable copy of the step, which knows how growth answers each action.

Takes: a policy module, a dataset, rules, the settings of its minibatches. Gives: the module, trained in place.

No other learner of these benchmarks may do this: it needs the market's prices inside the graph, and a market with
minimum orders or impact has steps that no gradient crosses.

Legend: E accounts, A assets.
"""

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ftray.agent import PPOSpec
from ftray.features import Dataset
from ftray.trading import MarketRules
from ftray.trading.episodes import EpisodeStarts
from ftray.trading.prices import tradable_segments


class _Projected(torch.autograd.Function):
    """The clamp to [0, 1] of an action; outside of it only gradients that lead back inside pass."""

    @staticmethod
    def forward(ctx: Any, actions: Tensor) -> Tensor:
        ctx.save_for_backward(actions)
        return actions.clamp(0.0, 1.0)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:
        (actions,), (gradient,) = ctx.saved_tensors, grad_outputs
        leads_back = ((actions < 0.0) & (gradient < 0.0)) | ((actions > 1.0) & (gradient > 0.0))
        return gradient * (((actions >= 0.0) & (actions <= 1.0)) | leads_back)


def step(held: Tensor, actions: Tensor, to_fill: Tensor, to_close: Tensor, cost: float) -> tuple[Tensor, Tensor]:
    """One bar of E accounts: holdings as fractions of equity after it, and log growth.

    held, actions: (E, A). to_fill: fill over close, to_close: next close over fill, (E, A) each. cost: per notional.
    Equal to `ftray.trading.advance.advance` without minimum orders and impact. Shape: (E, A), (E,).
    """
    wanted = _Projected.apply(actions)
    weights = wanted / wanted.sum(dim=1, keepdim=True).clamp_min(1.0)  # type: ignore[union-attr]
    values = held * to_fill
    cash = 1.0 - held.sum(dim=1)
    trade = weights * (cash + values.sum(dim=1))[:, None] - values
    buys, sells = trade.clamp_min(0.0), (-trade).clamp_min(0.0)
    available, price = cash + (1.0 - cost) * sells.sum(dim=1), (1.0 + cost) * buys.sum(dim=1)
    affordable = torch.where(price > available, available / price.clamp_min(1e-12), 1.0)
    after = (values - sells + buys * affordable[:, None]) * to_close
    equity = available - price * affordable + after.sum(dim=1)
    return after / equity[:, None], equity.log()


@dataclasses.dataclass(frozen=True)
class Direct:
    """horizon: bars of one unrolled account; minibatches and learning rate are those of `ppo`. scale: of growth."""

    ppo: PPOSpec
    horizon: int = 1
    scale: float = 100.0


def train(
    module: Any,
    dataset: Dataset,
    rules: MarketRules,
    how: Direct,
    seed: int,
    look: Callable[[], float],
    every: int,
) -> list[dict[str, float]]:
    """Trains for `env_steps` account-bars from random holdings at random bars; a row per `every` of them."""
    rng, ppo = np.random.default_rng(seed), how.ppo
    torch.manual_seed(seed)
    candles, layout = dataset.candles, dataset.layout
    closes, opens = (torch.from_numpy(np.ascontiguousarray(candles.column(name))) for name in ("close", "open"))
    to_fill, to_close = (opens[1:] / closes[:-1]).float(), (closes[1:] / opens[1:]).float()
    starts = EpisodeStarts(tradable_segments(dataset, dataset.windows.train), how.horizon)
    bars = starts.bars[starts.ends - starts.bars == how.horizon]
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    optimiser = torch.optim.Adam(trained, lr=ppo.learning_rate)
    used, seconds = 0, 0.0
    rows = [{"env_steps": 0.0, "seconds": 0.0, "growth": look()}]
    while used < ppo.env_steps:
        began = time.perf_counter()
        n = max(1, ppo.train_batch_size // how.horizon)
        drawn = torch.from_numpy(rng.choice(bars, n))
        parts = rng.standard_exponential((n, 1 + layout.n_assets))
        held = torch.from_numpy(parts[:, 1:] / parts.sum(axis=1, keepdims=True)).float()
        for _ in range(ppo.epochs):
            for chosen in torch.randperm(n).split(max(1, ppo.minibatch_size // how.horizon)):
                growth = _unrolled(module, drawn[chosen], held[chosen], to_fill, to_close, rules.cost, how.horizon)
                optimiser.zero_grad(set_to_none=True)
                (-how.scale * growth).backward()
                torch.nn.utils.clip_grad_norm_(trained, ppo.grad_clip)
                optimiser.step()
        seconds, before = seconds + time.perf_counter() - began, used
        used += n * how.horizon
        if used // every > before // every or used >= ppo.env_steps:
            rows.append({"env_steps": float(used), "seconds": seconds, "growth": look()})
    return rows


def _unrolled(
    module: Any, bars: Tensor, held: Tensor, to_fill: Tensor, to_close: Tensor, cost: float, horizon: int
) -> Tensor:
    """Mean log growth per bar of `horizon` bars by the mean action, a scalar."""
    total = torch.zeros(len(bars))
    for _ in range(horizon):
        account = torch.cat([1.0 - held.sum(dim=1, keepdim=True), held], dim=1)
        encoding = module.encode(torch.cat([bars[:, None].float(), account], dim=1))
        mean = module.policy_head(encoding).chunk(2, dim=-1)[0]
        held, growth = step(held, mean, to_fill[bars], to_close[bars], cost)
        total, bars = total + growth, bars + 1
    return total.mean() / horizon
