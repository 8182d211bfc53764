"""Encoders: windows of the feature table and an account in, an encoding for policy and value head out.

Takes: an `EncoderSpec` and an `ObservationLayout`. Gives: an `Encoder`, its weights in and out, masks for pre-training,
what it attends to and how it fares in training, and a `PolicyNetwork` to deploy, as a module or as an ONNX file.
"""

from ftray.nets.attention import attention_data
from ftray.nets.deployment import Policy, load_policy
from ftray.nets.diagnostics import encoder_metrics, weight_drift
from ftray.nets.encoder import Encoder, gather_windows
from ftray.nets.export import export_onnx
from ftray.nets.families import build_encoder
from ftray.nets.heads import actor_critic_parameters, policy_head, value_head
from ftray.nets.masking import MaskSpec, draw_mask
from ftray.nets.mlp import MLPEncoder
from ftray.nets.onnx_process import exporting_onnx
from ftray.nets.policy import PolicyNetwork
from ftray.nets.spec import ENCODERS, PRESETS, EncoderSpec, FTSpec, MLPSpec
from ftray.nets.transformer import FTTransformer, patch_sums
from ftray.nets.weights import (
    check_market_weights,
    load_market_weights,
    market_state_dict,
    read_checkpoint,
    weights_fingerprint,
)

__all__ = [
    "ENCODERS",
    "PRESETS",
    "Encoder",
    "EncoderSpec",
    "FTSpec",
    "FTTransformer",
    "MLPEncoder",
    "MLPSpec",
    "MaskSpec",
    "Policy",
    "PolicyNetwork",
    "actor_critic_parameters",
    "attention_data",
    "build_encoder",
    "check_market_weights",
    "draw_mask",
    "encoder_metrics",
    "export_onnx",
    "exporting_onnx",
    "gather_windows",
    "load_market_weights",
    "load_policy",
    "market_state_dict",
    "patch_sums",
    "policy_head",
    "read_checkpoint",
    "value_head",
    "weight_drift",
    "weights_fingerprint",
]
