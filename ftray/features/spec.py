"""What a policy observes of the market, described.

Takes: a mapping. Gives: a `FeatureSpec`, and how far back the decisions of a study look.
"""

from typing import Annotated, Literal

from ftray.features.indicators import INDICATORS
from ftray.market import FoldsSpec, Reach
from ftray.spec import Between, Count, Distinct, NameIn, spec

IndicatorName = Annotated[str, NameIn(INDICATORS)]


@spec
class FeatureSpec:
    """What a policy observes of the market.

    lookback: bars of an observation, the deciding bar included.
    indicators: names in `ftray.features.INDICATORS`, in the order of the observation; by default all of this package,
        and none of a plug-in.
    clip: standard deviations of the train windows that a scaled feature is clipped at.
    scaling: what center and scale are of the train windows: `winsorised` mean and standard deviation, which neither a
        false price nor a stretch without trades moves (see `Scaler.fit`), or those of all bars as they are, `moments`.
    """

    lookback: Count = 60
    indicators: Annotated[tuple[IndicatorName, ...], Distinct("indicator")] = tuple(INDICATORS)
    clip: Annotated[float, Between(1.0)] = 8.0
    scaling: Literal["winsorised", "moments"] = "winsorised"

    @property
    def plugins(self) -> dict[str, str]:
        """The plug-ins that its indicators come from → hash of their source."""
        return INDICATORS.sources(self.indicators)

    @property
    def warm_up(self) -> int:
        """Bars at the start of every segment before all indicators are known."""
        return max(INDICATORS[name].warm_up for name in self.indicators)

    @property
    def reach(self) -> Reach:
        """How far back an observation looks: its lookback, and what its indicators remember before that."""
        return Reach(self.lookback, self.warm_up)


def reach_of(windows: FoldsSpec, features: FeatureSpec) -> Reach:
    """How far back the decisions look that windows are made for: as far as the features need, or as the windows say.

    Raises: SpecError for windows that say less than the features need.
    """
    return features.reach.within(windows.lookback, windows.warm_up)
