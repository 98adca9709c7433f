"""HRNet with a landmark head."""

from pathlib import Path

import pytest
import torch
from drawn_films import tiny
from safetensors.torch import save_file
from torch.nn import functional

from ceph_core.config import ModelConfig
from ceph_core.errors import InputError
from ceph_core.models import build, freeze_norms

SMALL = ModelConfig(name="hrnet_w18_small")


@pytest.mark.parametrize("stride", [1, 2, 4])
def test_maps_come_at_the_head_s_stride(stride: int) -> None:
    net = build(SMALL.model_copy(update={"head_stride": stride}), 5).eval()
    with torch.inference_mode():
        raw = net(torch.zeros(1, 1, 96, 64))
    assert raw.shape == (1, 5, 96 // stride, 64 // stride)


def test_branches_mixed_at_their_own_strides_are_the_concatenated_ones() -> None:
    """Maps and gradients equal those of the head as its paper draws it: upsample, concatenate, mix."""
    torch.manual_seed(0)
    net = build(SMALL, 5).double().train()
    torch.nn.init.normal_(net.maps.weight)
    film = torch.rand(2, 1, 96, 64, dtype=torch.float64) * 255
    found = net(film)
    found.square().sum().backward()
    gradients = {name: weight.grad.clone() for name, weight in net.named_parameters() if weight.grad is not None}
    net.zero_grad()
    first, *coarser = net.backbone((film - net.grey_mean) / net.grey_std)
    wide = [functional.interpolate(branch, size=first.shape[-2:], mode="bilinear", align_corners=False) for branch in coarser]
    expected = net.maps(net.mix(torch.cat([first, *wide], dim=1)))
    expected.square().sum().backward()
    assert torch.allclose(found, expected, rtol=1e-9)
    assert len(gradients) > 200
    for name, weight in net.named_parameters():
        if weight.grad is not None:  # double: what is left are sums in another order
            assert torch.allclose(gradients[name], weight.grad, rtol=1e-6, atol=1e-8 * float(weight.grad.abs().max())), name


def test_half_precision_answers_in_float32_where_it_evaluates() -> None:
    net = build(SMALL, 5)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert net.train()(torch.zeros(2, 1, 64, 64)).dtype == torch.bfloat16
        assert net.eval()(torch.zeros(2, 1, 64, 64)).dtype == torch.float32


def test_building_follows_torch_s_generator() -> None:
    states = []
    for _ in range(2):
        torch.manual_seed(3)
        states.append(build(SMALL, 3).state_dict())
    assert all(torch.equal(one, other) for one, other in zip(states[0].values(), states[1].values(), strict=True))


def test_normalisation_travels_with_the_weights() -> None:
    assert {"grey_mean", "grey_std"} <= set(build(SMALL, 3).state_dict())


def test_a_colour_weight_file_is_folded_into_grey(tmp_path: Path) -> None:
    weights = build(SMALL, 3).backbone.state_dict()
    colour = weights["conv1.weight"].repeat(1, 3, 1, 1)
    save_file({**weights, "conv1.weight": colour.contiguous()}, tmp_path / "w.safetensors")
    net = build(ModelConfig(name="hrnet_w18_small", pretrained=str(tmp_path / "w.safetensors")), 3)
    assert torch.allclose(net.backbone.state_dict()["conv1.weight"], colour.sum(1, keepdim=True))


def test_weight_files_that_do_not_fit_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.pth: no such file"):
        build(ModelConfig(name="hrnet_w18_small", pretrained=str(tmp_path / "gone.pth")), 3)
    (tmp_path / "text.pth").write_text("no weights")
    with pytest.raises(InputError, match="cannot be read as weights"):
        build(ModelConfig(name="hrnet_w18_small", pretrained=str(tmp_path / "text.pth")), 3)
    save_file({"conv1.weight": torch.zeros(64, 3, 3, 3)}, tmp_path / "part.safetensors")
    with pytest.raises(InputError, match="does not fit timm's hrnet_w18_small"):
        build(ModelConfig(name="hrnet_w18_small", pretrained=str(tmp_path / "part.safetensors")), 3)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["hrnet_w32", "hrnet_w48"])
def test_the_large_networks_take_a_step_at_512_px(name: str) -> None:
    net = build(ModelConfig.model_validate({"name": name}), 19).train()
    # Batch norm needs more than one value a channel, which even one film gives at its coarsest 16 x 13.
    raw = net(torch.rand(1, 1, 512, 416) * 255)
    assert raw.shape == (1, 19, 128, 104)
    raw.square().mean().backward()
    assert all(weight.grad is not None and torch.isfinite(weight.grad).all() for weight in net.parameters())


# --- what a configuration changes


def test_dropout_and_drop_path_act_in_training_alone() -> None:
    film = torch.rand(2, 1, 64, 64) * 255
    for change in ({"model__dropout": 0.5}, {"model__drop_path": 0.5}):
        torch.manual_seed(0)
        net = build(tiny(**change).model, 3)
        plain = build(tiny().model, 3)
        plain.load_state_dict(net.state_dict())
        assert torch.equal(net.eval()(film), plain.eval()(film)), "the same weights, the same answers"
        net.train()
        assert not torch.equal(net(film), net(film))


def test_drop_path_rises_with_depth() -> None:
    net = build(tiny(model__drop_path=0.4).model, 3)
    shares = [module.drop_prob for module in net.modules() if type(module).__name__ == "DropPath"]
    assert shares == sorted(shares) and shares[0] < 0.05 and shares[-1] == pytest.approx(0.4)


def test_group_norm_does_not_see_the_batch_and_takes_pretrained_scales() -> None:
    net = build(tiny(model__norm="group").model, 3).train()
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in net.modules())
    films = torch.rand(3, 1, 64, 64) * 255
    with torch.no_grad():
        assert torch.allclose(net(films)[:1], net(films[:1]), atol=1e-4)


def test_frozen_norms_keep_their_statistics() -> None:
    net = build(tiny().model, 3).train()
    freeze_norms(net)
    before = {name: value.clone() for name, value in net.state_dict().items() if "running" in name}
    net(torch.rand(2, 1, 64, 64) * 255)
    assert all(torch.equal(value, net.state_dict()[name]) for name, value in before.items())
