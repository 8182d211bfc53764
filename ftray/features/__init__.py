"""Features: what a policy may know of the market at a bar, and where it is in an observation.

Takes: candles and windows. Gives: a `FeatureTable` of causal indicators under a scaler that has seen the train window
alone, the `ObservationLayout` that everyone slices through, and the `Dataset` that carries them between processes.
"""

from ftray.features.dataset import Dataset, build_dataset, dataset_fingerprint, dataset_of
from ftray.features.indicators import INDICATORS, Indicator
from ftray.features.layout import ObservationLayout
from ftray.features.scaling import Scaler
from ftray.features.spec import FeatureSpec, reach_of
from ftray.features.table import FeatureTable, build_table

__all__ = [
    "INDICATORS",
    "Dataset",
    "FeatureSpec",
    "FeatureTable",
    "Indicator",
    "ObservationLayout",
    "Scaler",
    "build_dataset",
    "build_table",
    "dataset_fingerprint",
    "dataset_of",
    "reach_of",
]
