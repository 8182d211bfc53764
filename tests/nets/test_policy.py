import torch

from ftray.features import ObservationLayout
from ftray.nets import FTSpec, PolicyNetwork, build_encoder, policy_head

LAYOUT = ObservationLayout(("BTC", "ETH"), ("close", "rsi"), lookback=6)


def policy():
    torch.manual_seed(0)
    encoder = build_encoder(FTSpec(d_token=32, n_heads=2, encoding_dim=256), LAYOUT)
    network = PolicyNetwork(encoder, policy_head(256, LAYOUT.n_assets))
    torch.nn.init.normal_(network.policy_head[-1].weight, std=0.5)
    return network


def observations():
    return 3.0 * torch.randn(20, LAYOUT.size, generator=torch.Generator().manual_seed(1))


def test_an_action_is_the_clipped_mean_of_what_the_head_says():
    network, observation = policy(), observations()
    mean = network.policy_head(network.encoder.encode(observation))[:, : LAYOUT.n_assets]
    action = network(observation)
    assert action.shape == (20, 2)
    assert torch.equal(action, mean.clamp(-1.0, 1.0))
    assert (action.abs() == 1.0).any() and (action.abs() < 1.0).any()


def test_the_same_observation_has_the_same_action():
    network, observation = (
        policy().train(),
        3.0 * torch.randn(20, LAYOUT.size, generator=torch.Generator().manual_seed(1)),
    )
    assert torch.equal(network(observation), network(observation))
