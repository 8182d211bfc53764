"""The baseline encoder: a plain MLP over the flat observation.

Legend: B batch, S series, L lookback, A assets.
"""

from torch import Tensor, nn
from torch.nn import functional as F

from ftray.features.layout import ObservationLayout
from ftray.nets.encoder import Encoder
from ftray.nets.spec import MLPSpec


class MLPEncoder(Encoder):
    """Two ReLU layers; the first is a market part plus an account part, so that samples of one bar share the former.

    The market part takes a window bar by bar, the way windows lie in the feature table: no copy turns them round.
    """

    spec_class = MLPSpec
    shares_bars = True

    def __init__(self, spec: MLPSpec, layout: ObservationLayout):
        super().__init__()
        self.spec, self.layout, self.d_market = spec, layout, spec.hidden
        self.tower = nn.Linear(layout.n_features, spec.hidden)
        self.account = nn.Linear(layout.n_account, spec.hidden, bias=False)
        self.projection = nn.Linear(spec.hidden, spec.encoding_dim)

    def market(self, windows: Tensor) -> Tensor:
        return self.tower(windows.transpose(1, 2).flatten(1))

    def fuse(self, market: Tensor, account: Tensor) -> Tensor:
        return F.relu(self.projection(F.relu(market + self.account(account))))
