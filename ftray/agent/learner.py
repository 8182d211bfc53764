"""The learner: RLlib's PPO learner, with what a trading trial needs.

Its optimisers carry only what trains, a pre-trained tower at a rate of its own. Minibatches keep the samples of a bar
together, so that the market tower runs once for all of them; on a GPU, where launches take longer than the tower, a
minibatch is one CUDA graph instead. A minibatch too large for the memory is processed in parts, with the same
gradients. A gradient that is not finite ends the trial: RLlib would replace it by zeros and continue.
"""

import json
import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from ray.rllib.algorithms.ppo.torch.ppo_torch_learner import PPOTorchLearner
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.columns import Columns
from ray.rllib.policy.sample_batch import MultiAgentBatch, SampleBatch
from torch import Tensor, nn

from ftray.agent.captured import CapturedGradients
from ftray.agent.loss import ppo_loss
from ftray.agent.minibatches import minibatches, parts
from ftray.agent.randomness import random_state, set_random_state
from ftray.errors import TrainingError
from ftray.nets.graphs import worth_a_graph
from ftray.nets.optimisers import within_its_devices
from ftray.vram.table import Worker, step_bytes

METRICS, TOTAL = "metrics", "total"
MINIBATCHES = "minibatches"


class FTLearner(PPOTorchLearner):
    """PPO's learner for `FTPolicy`.

    `learner_config_dict`, all optional: `micro_batches`, into how many parts a minibatch is cut; `tower_schedule`,
    RLlib's list of [env steps, learning rate] for a pre-trained tower; `weight_decay` of all matrices but this tower's;
    `seed` of the minibatches' order.
    """

    def build(self) -> None:
        super().build()
        self._rng = np.random.default_rng(self.config.learner_config_dict.get("seed", 0))
        self._minibatch_metrics: list[dict[str, Tensor]] = []
        self._captured: CapturedGradients | None = None
        if self._is_captured():
            self._captured = CapturedGradients(self._at_once, [p for p in self._policy.parameters() if p.requires_grad])

    def configure_optimizers_for_module(self, module_id: Any, config: Any = None) -> None:
        module: Any = self._module[module_id].unwrapped()  # type: ignore[index]
        options = config.learner_config_dict
        schedule, decay = options.get("tower_schedule"), options.get("weight_decay", 0.0)
        tower = {id(parameter) for parameter in module.encoder.market_parameters()} if schedule else set()
        trained = {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}
        for name, rate in {"default_optimizer": config.lr, "tower": schedule}.items():
            own = {key: p for key, p in trained.items() if (id(p) in tower) == (name == "tower")}
            if own:
                self.register_optimizer(
                    module_id=module_id,
                    optimizer_name=name,
                    optimizer=within_its_devices(adam(own, 0.0 if name == "tower" else decay)),
                    params=list(own.values()),
                    lr_or_lr_schedule=rate,
                )

    def random_state(self) -> dict[str, np.ndarray | str]:
        """The states of what the minibatches' order and torch's random numbers come from."""
        return {MINIBATCHES: json.dumps(self._rng.bit_generator.state), **random_state(self._device)}

    def set_random_state(self, state: Mapping[str, Any]) -> None:
        """Continues from what `random_state` gave."""
        self._rng.bit_generator.state = json.loads(str(state[MINIBATCHES]))
        set_random_state(state, self._device)

    def _create_iterator_if_necessary(
        self, *, training_data: Any, num_epochs: int = 1, minibatch_size: int | None = None, **given: Any
    ) -> Iterator[MultiAgentBatch]:
        batch: Any = self._make_batch_if_necessary(training_data=training_data)
        samples: dict[str, Tensor] = dict(batch.policy_batches[DEFAULT_MODULE_ID])
        n = len(samples[Columns.OBS])
        groups = self._policy.groups(samples[Columns.OBS].cpu().numpy())
        for minibatch in minibatches(samples, groups, minibatch_size or n, num_epochs, self._rng):
            yield MultiAgentBatch({DEFAULT_MODULE_ID: SampleBatch(minibatch)}, env_steps=n)

    def _uncompiled_update(self, batch: dict[str, Any], **given: Any) -> tuple[Any, Any, Any]:
        """One step of the optimisers, on a minibatch as one graph, or in parts for the memory or the cache of a CPU."""
        samples = batch[DEFAULT_MODULE_ID]
        for optimizer in self._optimizer_parameters:
            optimizer.zero_grad(set_to_none=True)
        metrics = self._captured(dict(samples)) if self._captured is not None else None
        if metrics is None:
            total = self._in_parts(samples)
        else:
            total = metrics.pop(TOTAL)
            self._minibatch_metrics.append(metrics)
        self._clip(samples)
        for optimizer in self._optimizer_parameters:
            optimizer.step()
        return {}, {DEFAULT_MODULE_ID: total}, {}

    def _in_parts(self, samples: Mapping[str, Tensor]) -> Tensor:
        """The gradients of a minibatch, and its loss."""
        n, total = len(samples[Columns.OBS]), torch.zeros((), device=self._device)
        wanted = self.config.learner_config_dict.get("micro_batches", 1)
        for part in parts(n, max(wanted, self._policy.n_passes(samples[Columns.OBS]))):
            some = {name: column[part] for name, column in samples.items()}
            outputs = self._policy.forward_train(some)
            loss = self.compute_loss_for_module(
                module_id=DEFAULT_MODULE_ID, config=self.config, batch=some, fwd_out=outputs
            )
            loss = loss * ((part.stop - part.start) / n)  # a loss is a mean over its samples
            loss.backward()
            total += loss.detach()
        return total

    def _is_captured(self) -> bool:
        """Whether a minibatch is too little work to keep a GPU busy, and memory was no reason to cut it.

        Dropout is never captured: where a capture fails, the generator that it draws from is of no more use.
        """
        encoder, config = self._policy.encoder, self.config
        if self._policy.model_config.get("dropout"):
            return False
        minibatch = config.minibatch_size or config.train_batch_size_per_learner
        needed = step_bytes(Worker(encoder.spec, encoder.layout, minibatch=minibatch))
        return config.learner_config_dict.get("micro_batches", 1) == 1 and worth_a_graph(self._device, needed)

    def _at_once(self, samples: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The gradients of a whole minibatch, and its metrics, without a shape that depends on what it holds.

        Several accounts on a bar run its tower as often: the GPU has time for that, and none for launches.
        """
        n = len(self._minibatch_metrics)
        try:
            with self._policy.without_deduplication():
                total = self._in_parts(samples)
            return {TOTAL: total, **self._minibatch_metrics[-1]}
        finally:
            del self._minibatch_metrics[n:]  # a pass that is being recorded computes nothing

    def compute_loss_for_module(self, *, module_id: Any, config: Any, batch: Any, fwd_out: Any) -> Tensor:
        loss, metrics = ppo_loss(
            batch,
            fwd_out[Columns.ACTION_DIST_INPUTS],
            self._policy.compute_values(batch, embeddings=fwd_out[Columns.EMBEDDINGS]),
            clip=config.clip_param,
            value_weight=config.vf_loss_coeff,
            entropy_weight=config.entropy_coeff,
        )
        self._minibatch_metrics.append(metrics)
        return loss

    def before_gradient_based_update(self, *, timesteps: dict[str, Any]) -> None:
        self._started = time.perf_counter()
        super().before_gradient_based_update(timesteps=timesteps)

    def after_gradient_based_update(self, *, timesteps: dict[str, Any]) -> None:
        """Figures are means over all minibatches of the update; RLlib's own are those of the last one."""
        super().after_gradient_based_update(timesteps=timesteps)
        seen, self._minibatch_metrics = self._minibatch_metrics, []
        for name in seen[-1]:
            mean = torch.stack([metrics[name] for metrics in seen if name in metrics]).mean().item()
            self.metrics.log_value((DEFAULT_MODULE_ID, METRICS, name), mean, window=1)
        self.metrics.log_value((DEFAULT_MODULE_ID, "seconds"), time.perf_counter() - self._started, window=1)

    @property
    def _policy(self) -> Any:
        return self.module[DEFAULT_MODULE_ID].unwrapped()

    def _clip(self, samples: Mapping[str, Tensor]) -> None:
        """Clips by the norm of all gradients together, whatever the number of optimisers."""
        tower = {id(parameter) for parameter in self._policy.encoder.market_parameters()}
        carried: list[Any] = [p for p in self._params.values() if p.grad is not None]
        towers = [p.grad for p in carried if id(p) in tower]
        others = [p.grad for p in carried if id(p) not in tower]
        norms = [torch.nn.utils.get_total_norm(gradients) for gradients in (towers, others)]
        norm = torch.linalg.vector_norm(torch.stack([n.to(self._device) for n in norms]))
        if not torch.isfinite(norm):
            raise TrainingError(diagnosis(self._policy, samples, self._minibatch_metrics[-1]))
        if self.config.grad_clip:
            torch.nn.utils.clip_grads_with_norm_(carried, self.config.grad_clip, norm)
        self._minibatch_metrics[-1] |= {"gradient_norm": norm} | ({"tower_gradient_norm": norms[0]} if towers else {})


def adam(parameters: Mapping[str, nn.Parameter], weight_decay: float) -> torch.optim.Optimizer:
    """Adam; with weight decay AdamW, which takes it off matrices and leaves biases and normalisations alone."""
    fused: dict[str, Any] = {"fused": True}  # one pass over the memory instead of ten
    if not weight_decay:
        return torch.optim.Adam(parameters.values(), **fused)
    decayed = {name for name, p in parameters.items() if p.ndim > 1 and not name.endswith("bias")}
    groups: list[dict[str, Any]] = [
        {"params": [p for name, p in parameters.items() if (name in decayed) == is_decayed], "weight_decay": rate}
        for is_decayed, rate in ((True, weight_decay), (False, 0.0))
    ]
    return torch.optim.AdamW([group for group in groups if group["params"]], **fused)


def diagnosis(module: torch.nn.Module, samples: Mapping[str, Tensor], metrics: Mapping[str, Tensor]) -> str:
    """Why a gradient is not finite, as far as it can be seen from outside."""
    parts = {name: float(value) for name, value in metrics.items() if not torch.isfinite(value)}
    broken = [name for name, column in samples.items() if not torch.isfinite(column).all()]
    weights = [name for name, p in module.named_parameters() if not torch.isfinite(p).all()]
    gradients = [
        name for name, p in module.named_parameters() if p.grad is not None and not torch.isfinite(p.grad).all()
    ]
    found = [
        f"not finite in the loss: {', '.join(f'{name} = {value}' for name, value in parts.items()) or 'nothing'}",
        f"in the minibatch: {', '.join(broken) or 'nothing'}",
        f"in the weights: {_few(weights)}",
        f"in the gradients: {_few(gradients)}",
    ]
    return (
        f"a gradient must be finite, and this one is not ({'; '.join(found)}). Lower trial.ppo.learning_rate, "
        "trial.ppo.grad_clip or trial.ppo.reward_scale; the last checkpoint is kept."
    )


def _few(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "") if names else "nothing"
