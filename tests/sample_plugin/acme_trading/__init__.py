"""A sample of a plug-in: `plugins: [acme_trading]` in a study file registers one member of each family."""

from acme_trading import encoders, indicators, markets, rewards, samplers

__all__ = ["encoders", "indicators", "markets", "rewards", "samplers"]
