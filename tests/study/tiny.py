"""The smallest study that has everything: both encoders, pre-training, a trial that fails."""

from pathlib import Path

import yaml

TINY = {
    "trial": {
        "market": {"kind": "simulator", "n_assets": 2, "n_bars": 1200},
        "windows": {"holding": 6},
        "features": {"lookback": 8, "indicators": ["close", "volume", "rsi"]},
        "encoder": {
            "choice": [
                {"kind": "mlp", "hidden": 64, "encoding_dim": 64},
                {
                    "kind": "ft",
                    "d_token": 32,
                    "n_blocks": 1,
                    "n_heads": 2,
                    "encoding_dim": 256,
                    "patch_length": 8,
                    "pretrained": {"choice": ["none", "auto", "/nowhere/weights.pth"]},
                },
            ]
        },
        "pretraining": {"epochs": 2, "windows_per_epoch": 64, "batch_size": 32, "horizon": 6, "device": "cpu"},
        "trading": {"episode_bars": 50},
        "ppo": {
            "env_steps": 256,
            "train_batch_size": 128,
            "minibatch_size": 64,
            "epochs": 1,
            "learning_rate": {"log": [1e-4, 1e-3]},
            "n_env_runners": 0,
            "envs_per_runner": 8,
            "evaluate_every": 1,
        },
        "onnx": False,
    },
    "search": {
        "n_trials": 4,
        "min_round_trips": 0,  # 256 steps teach nobody to trade
        "points": [
            {"trial/encoder/kind": "ft", "trial/encoder/pretrained": "auto"},
            {"trial/encoder/kind": "ft", "trial/encoder/pretrained": "/nowhere/weights.pth"},
            {"trial/encoder/kind": "mlp"},
            {"trial/encoder/kind": "ft", "trial/encoder/pretrained": "auto"},
        ],
    },
}


def tiny_file(folder: Path, **search: object) -> Path:
    """The study as a file, with some of its search section replaced."""
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(TINY | {"search": TINY["search"] | search}))
    return path
