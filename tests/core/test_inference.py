"""Members, ensembles and their choice: points come back in the film's own pixels."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from ceph_core import models
from ceph_core.codec import HeatmapCodec
from ceph_core.config import Config, apply
from ceph_core.data.records import CephRecord
from ceph_core.errors import InputError
from ceph_core.geometry import Canvas, canvas_for, fit_affine, invert, resample, transform
from ceph_core.inference import (
    Candidate,
    Member,
    MemberOutputs,
    Predictor,
    combined_points,
    greedy_select,
    load_member,
    make_manifest,
    make_member,
    member_outputs,
    read_manifest,
    save_member,
    write_manifest,
)  # fmt: skip
from ceph_core.inference.device import device_for
from ceph_core.inference.ensemble import heatmap_mean, normalised
from ceph_core.inference.evaluate import mean_shape, readers, score
from ceph_core.inference.fold import folded
from ceph_core.inference.frames import Frame, common, largest, move, placement
from ceph_core.inference.half import TOLERANCE_PX, moved_px
from ceph_core.inference.tta import parse
from ceph_core.landmarks import ISBI19, Protocol
from ceph_core.metrics import summarize, tier

DOT = Protocol("dot", ("D",), ("bright dot",))


class DotFinder(nn.Module):
    """A network that needs no training: its map is the film's brightness."""

    def __init__(self, stride: int, loss: str) -> None:
        super().__init__()
        self.stride, self.loss = stride, loss

    def forward(self, film: Tensor) -> Tensor:
        maps = functional.avg_pool2d(film, self.stride) / 255
        return maps.clamp_min(1e-6).log() if self.loss == "cross_entropy" else maps


def config_of(size: int, stride: int = 4, loss: str = "mse", sigma_rel: float = 0.03) -> Config:
    values = {"data.image_size": size, "model.head_stride": stride, "heatmap.loss": loss, "heatmap.sigma_rel": sigma_rel}
    return apply(Config(), {**values, "model.name": "hrnet_w18_small"})


def dot_member(size: int, stride: int = 4, loss: str = "mse") -> Member:
    return make_member(config_of(size, stride, loss), canvas_for(1.25, size), DotFinder(stride, loss), 1)


def dot_film(size: tuple[int, int], at: tuple[float, float], sigma: float) -> np.ndarray:
    rows, columns = np.arange(size[0])[:, None], np.arange(size[1])[None]
    return np.round(255 * np.exp(-0.5 * ((columns - at[0]) ** 2 + (rows - at[1]) ** 2) / sigma**2)).astype(np.uint8)


@pytest.mark.parametrize("combine", ["single", "coordinate_mean", "confidence_mean", "heatmap_mean"])
@pytest.mark.parametrize("size", [(300, 240), (150, 260), (100, 80)])
def test_points_come_back_in_original_pixels(size: tuple[int, int], combine: Any) -> None:
    members = [dot_member(160, 4), dot_member(128, 2, "cross_entropy"), dot_member(96, 1)][: 1 if combine == "single" else 3]
    at = (size[1] * 0.37, size[0] * 0.61)
    found = Predictor(members, [1] * len(members), combine, DOT).predict(dot_film(size, at, sigma=max(size) * 0.03))
    # A pixel of the canvas is at most 3.2 of the film; whole grey values leave a hundredth of one.
    assert np.abs(found.points_px - at).max() < 0.05 * max(1, max(size) / 96)
    assert 0.5 < found.confidence[0] <= 1


def test_a_batch_of_mixed_sizes_equals_one_film_at_a_time() -> None:
    films = [dot_film(size, (30.2, 41.7), 5) for size in ((120, 90), (80, 160), (120, 90))]
    predictor = Predictor([dot_member(96, 2), dot_member(64, 1)], [2, 1], "heatmap_mean", DOT)
    for film, together in zip(films, predictor.predict_batch(films, batch=2), strict=True):
        assert np.allclose(predictor.predict(film).points_px, together.points_px, atol=1e-4)
    assert predictor.predict_batch([]) == []


def trained_like(seed: int = 0) -> nn.Module:
    """An untrained HRNet whose norms do something."""
    torch.manual_seed(seed)
    net = models.build(config_of(64).model, 19)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            for values, low, high in (
                (module.running_mean, -0.2, 0.2),
                (module.running_var, 0.5, 2),
                (module.weight, 0.5, 2),
                (module.bias, -1, 1),
            ):
                assert isinstance(values, Tensor)
                nn.init.uniform_(values, low, high)
    return net.eval().requires_grad_(False)


def test_a_folded_network_answers_as_before_and_the_member_keeps_its_weights() -> None:
    net = trained_like()
    member = make_member(config_of(64), Canvas(64, 64), net, 19)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    assert sum(isinstance(module, nn.BatchNorm2d) for module in net.modules()) > 60
    assert not any(isinstance(module, nn.BatchNorm2d) for module in member.fast.modules())
    film = torch.rand(2, 1, 64, 64) * 255
    slow, fast = net(film), member.fast(film)
    assert (slow - fast).abs().max() < 1e-4 * slow.abs().max()
    points = [member.codec.decode(member.codec.activate(raw))[0] for raw in (slow, fast)]
    assert (points[0] - points[1]).abs().max() < 0.01
    assert all(torch.equal(value, before[name]) for name, value in member.net.state_dict().items())


class Shared(nn.Module):
    """Norms that must not be folded: one beside another reader of its convolution, one whose convolution runs twice."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.plain = (nn.Conv2d(1, 1, 3, padding=1) for _ in range(3))
        self.norms = nn.ModuleList(nn.BatchNorm2d(1) for _ in range(4))
        for norm in self.norms:
            nn.init.uniform_(norm.running_mean, 1, 2)

    def forward(self, film: Tensor) -> Tensor:
        one = self.one(film)
        twice = self.norms[1](self.two(self.norms[0](one) + one)) + self.norms[2](self.two(film))
        folds: Tensor = self.norms[3](self.plain(twice))
        return folds


def test_a_norm_is_folded_only_where_it_alone_reads_a_convolution() -> None:
    net, film = Shared().eval(), torch.rand(1, 1, 32, 32)
    fast = folded(net, film)
    assert [isinstance(norm, nn.Identity) for norm in fast.get_submodule("norms").children()] == [False, False, False, True]
    assert torch.allclose(net(film), fast(film), atol=1e-5)


def test_half_precision_is_refused_where_it_moves_points() -> None:
    member, hrnet = dot_member(96, 2), make_member(config_of(64), Canvas(64, 64), trained_like(), 19)
    cpu = torch.device("cpu")
    assert member.half is None and hrnet.half is None, "none on a CPU"
    assert moved_px(member.fast, member.codec, member.canvas, cpu, torch.bfloat16) == 0, "pooling stays in full precision"
    assert moved_px(hrnet.fast, hrnet.codec, hrnet.canvas, cpu, torch.bfloat16) > TOLERANCE_PX


@pytest.mark.parametrize("views", ["none", "shift,scale"])
def test_member_outputs_on_cached_films_equal_the_predictor_s(views: str) -> None:
    tta = parse(views)
    member, sizes = dot_member(96, 2), [(120, 90), (80, 160), (240, 200)]
    films = [dot_film(size, (31.2, 44.7), 5) for size in sizes]
    images = np.stack([resample(torch.from_numpy(film)[None, None], member.canvas)[0, 0].numpy().astype(np.uint8) for film in films])
    affines = np.stack([fit_affine(size, member.canvas) for size in sizes])
    outputs = member_outputs(member, images, affines, batch=2, heatmaps=True, tta=tta)
    expected = Predictor([member], [1], "single", DOT, tta=tta).predict_batch(films)
    assert np.allclose(outputs.points_px, [each.points_px for each in expected], atol=1e-4)
    assert outputs.heatmaps is not None and outputs.heatmaps.shape == (3, 1, 48, member.canvas.width // 2)
    assert outputs.heatmaps.dtype == torch.float16 and outputs.heatmaps.amax() == 1


@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
@pytest.mark.parametrize(("small", "stride"), [(256, 4), (256, 2), (384, 4), (128, 1), (512, 2), (384, 1)])
def test_a_gaussian_moved_to_the_largest_frame_keeps_its_centre(small: int, stride: int, loss: str) -> None:
    film_size = (2400, 1935)
    source = Frame(canvas_for(2400 / 1935, small), HeatmapCodec(stride, loss, 0.9 * stride))
    target = common([source, Frame(canvas_for(2400 / 1935, 512), HeatmapCodec(4, loss, 0.9 * 4))])
    at = 300 + np.random.default_rng(0).uniform(0, 1, (1, 40, 2)) * (1300, 1800)
    affines = [fit_affine(film_size, frame.canvas)[None] for frame in (source, target)]
    drawn = source.codec.encode(
        torch.from_numpy(transform(affines[0], at)), torch.full((40,), source.codec.sigma_px), (small, source.canvas.width)
    )
    # Whatever the frame, a Gaussian of 0.9 heatmap px and more is told to 0.05 input px.
    moved = move(drawn.maps(), source, target, placement(affines[0]), placement(affines[1]))
    found, _ = target.codec.decode(moved)
    assert np.abs(found.numpy() - transform(affines[1], at)).max() < 0.05
    assert torch.allclose(moved.sum((-2, -1)), torch.ones(1, 40), atol=1e-4)


def test_the_largest_frame_is_the_goal_and_members_of_one_frame_are_not_resampled() -> None:
    frames = [Frame(Canvas(128, 96), HeatmapCodec(1, "mse", 4.0)), Frame(Canvas(256, 224), HeatmapCodec(4, "mse", 4.0))]
    assert largest(frames) == 1 and common(frames[1:]) == frames[1]
    assert common(frames) == Frame(Canvas(256, 224), HeatmapCodec(1, "mse", 4.0))
    soft = Frame(Canvas(256, 224), HeatmapCodec(4, "mse", 4.0, "soft_argmax", 2.0))
    assert common([frames[0], soft]).codec == HeatmapCodec(1, "mse", 4.0, "soft_argmax", 2.0), "the largest member's decoder"
    maps = torch.rand(1, 1, 64, 56) ** 8
    at = placement(fit_affine((240, 200), frames[1].canvas)[None])
    same = heatmap_mean([maps, maps], [frames[1], frames[1]], [at, at], normalised([1, 3]))
    assert torch.allclose(same, heatmap_mean([maps], [frames[1]], [at], normalised([1])), atol=1e-4)


def test_a_silent_map_leaves_the_others_alone() -> None:
    frame = Frame(Canvas(64, 64), HeatmapCodec(1, "mse", 2.0))
    at = placement(fit_affine((64, 64), frame.canvas)[None])
    peak = frame.codec.encode(torch.tensor([[[20.25, 30.5]]]), torch.tensor([2.0]), (64, 64)).maps()
    found = heatmap_mean([torch.zeros_like(peak), peak], [frame, frame], [at, at], normalised([1, 1]))
    assert torch.allclose(found, torch.tensor([20.25, 30.5], dtype=torch.float64), atol=0.02)


def test_a_member_folder_comes_back_as_it_was(tmp_path: Path) -> None:
    config, canvas = config_of(64), Canvas(64, 64)
    net = models.build(config.model, 19)
    for _ in range(2):  # the second replaces the first
        save_member(tmp_path / "member_0", config, canvas, net.state_dict(), 19, trial="t0007", epoch=12)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["member_0"]
    member = load_member(tmp_path / "member_0")
    assert (member.config, member.canvas, member.trial, member.epoch, member.num_landmarks) == (config, canvas, "t0007", 12, 19)
    assert not member.net.training
    film = torch.rand(1, 1, 64, 64) * 255
    assert torch.equal(member.net(film), net.to(memory_format=torch.channels_last).eval()(film))
    assert len(Predictor.load(tmp_path / "member_0").predict(np.zeros((80, 60), np.uint8)).points_px) == 19


def test_broken_members_are_named(tmp_path: Path) -> None:
    folder, config = tmp_path / "member_0", config_of(64)
    with pytest.raises(InputError, match="no such folder"):
        Predictor.load(folder)
    folder.mkdir()
    with pytest.raises(InputError, match=r"holds no manifest\.json and no member's config\.json"):
        Predictor.load(folder)
    save_member(folder, config, Canvas(64, 64), models.build(config.model, 19).state_dict(), 18)
    with pytest.raises(InputError, match=r"does not fit config\.json .* 2 of \d+ tensors"):
        load_member(folder)
    (folder / "weights.safetensors").write_bytes(b"no weights")
    with pytest.raises(InputError, match="cannot be read as safetensors"):
        load_member(folder)
    (folder / "weights.safetensors").unlink()
    with pytest.raises(InputError, match=r"no weights\.safetensors beside"):
        load_member(folder)
    (folder / "config.json").write_text('{"num_landmarks": 0, "surplus": 1}')
    with pytest.raises(InputError) as caught:
        load_member(folder)
    assert {line.split(": ")[1] for line in caught.value.problems} == {"config", "num_landmarks", "canvas", "surplus"}


def saved_ensemble(folder: Path, combine: Any = "coordinate_mean") -> None:
    members = []
    for number, size in enumerate((64, 96)):
        config = config_of(size)
        members.append(make_member(config, Canvas(size, size), models.build(config.model, 19), 19, trial=f"t{number}"))
        save_member(folder / f"member_{number}", config, Canvas(size, size), members[-1].net.state_dict(), 19, trial=f"t{number}")
    write_manifest(folder, make_manifest(members, [0.75, 0.25], combine, ISBI19, 1.0, "f00d", ["001"], figures={"test": {"mre_mm": 1.5}}))


def test_an_ensemble_folder_comes_back_as_it_was(tmp_path: Path) -> None:
    saved_ensemble(tmp_path, "heatmap_mean")
    predictor = Predictor.load(tmp_path)
    assert predictor.combine == "heatmap_mean" and predictor.weights.tolist() == [0.75, 0.25]
    assert predictor.protocol == ISBI19 and [member.trial for member in predictor.members] == ["t0", "t1"]
    manifest = read_manifest(tmp_path)
    assert manifest == predictor.manifest
    assert manifest.figures == {"test": {"mre_mm": 1.5}} and {"python", "torch", "timm", "ceph-search"} <= set(manifest.versions)


def test_a_manifest_that_does_not_fit_is_named(tmp_path: Path) -> None:
    saved_ensemble(tmp_path)
    path = tmp_path / "manifest.json"
    good = json.loads(path.read_text())

    def problems(**changes: Any) -> str:
        path.write_text(json.dumps(good | changes))
        with pytest.raises(InputError) as caught:
            Predictor.load(tmp_path)
        return str(caught.value)

    assert "combine: single with 2 members" in problems(combine="single")
    assert "surplus" in problems(surplus=1) and "format_version" in problems(format_version=2)
    other = [good["members"][0] | {"stride": 2}, good["members"][1] | {"folder": "member_9"}]
    text = problems(members=other)
    assert "member_0: stride 2, but its config.json says 4" in text and "member_9" in text, "every problem at once"
    assert "folder" in problems(members=[good["members"][0] | {"folder": "../elsewhere"}]), "members stay inside the ensemble"
    path.write_text("{")
    with pytest.raises(InputError, match=r"manifest\.json"):
        Predictor.load(tmp_path)


def test_the_manifest_names_each_decoder_and_an_older_one_means_the_log_parabola(tmp_path: Path) -> None:
    config = apply(config_of(64), {"heatmap.decoder": "soft_argmax", "heatmap.decoder_window": 2.0})
    member = make_member(config, Canvas(64, 64), models.build(config.model, 19), 19)
    save_member(tmp_path / "member_0", config, member.canvas, member.net.state_dict(), 19)
    write_manifest(tmp_path, make_manifest([member], [1.0], "single", ISBI19, 1.0))
    path = tmp_path / "manifest.json"
    good = json.loads(path.read_text())
    assert (good["members"][0]["decoder"], good["members"][0]["decoder_window"]) == ("soft_argmax", 2.0)
    assert Predictor.load(tmp_path).members[0].codec == HeatmapCodec(4, "mse", 64 * 0.03, "soft_argmax", 2.0)

    older = {key: value for key, value in good["members"][0].items() if not key.startswith("decoder")}
    path.write_text(json.dumps(good | {"members": [older]}))
    with pytest.raises(InputError, match=r"member_0: decoder log_parabola, but its config\.json says soft_argmax"):
        Predictor.load(tmp_path)
    plain = config_of(64)
    save_member(tmp_path / "member_0", plain, member.canvas, member.net.state_dict(), 19)
    card = json.loads((tmp_path / "member_0" / "config.json").read_text())
    for name in ("decoder", "decoder_window"):
        del card["config"]["heatmap"][name]
    (tmp_path / "member_0" / "config.json").write_text(json.dumps(card))
    assert Predictor.load(tmp_path).members[0].codec == HeatmapCodec(4, "mse", 64 * 0.03)


def candidates_with_noise(noise: list[float], num: int = 40) -> tuple[list[Candidate], np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    truth = random.uniform(50, 150, (num, 5, 2))
    frame, affines = Frame(Canvas(64, 64), HeatmapCodec(1, "mse", 2.0)), np.stack([fit_affine((200, 200), Canvas(64, 64))] * num)
    made = [MemberOutputs(truth + random.normal(0, spread, truth.shape), np.ones((num, 5), np.float32)) for spread in noise]
    return [Candidate(each, frame, affines) for each in made], truth, np.full((num, 2), 0.1)


def test_greedy_selection_takes_independent_equals_and_leaves_the_bad() -> None:
    candidates, truth, spacing = candidates_with_noise([10, 10, 10, 200])
    found = greedy_select(candidates, truth, spacing)
    assert found.combine == "coordinate_mean" and set(found.members) == {0, 1, 2} and sum(found.weights) == pytest.approx(1)
    alone = found.trace[0]
    assert alone.combine == "single" and found.score_mm < 0.7 * alone.score_mm
    for rule in ("coordinate_mean", "confidence_mean"):
        scores = [step.score_mm for step in found.trace if step.combine in ("single", rule)]
        assert len(scores) > 2 and scores == sorted(scores, reverse=True), "a member is added only if it helps"
    assert len(greedy_select(candidates, truth, spacing, max_members=2).members) == 2


def test_a_member_whose_gain_is_within_its_noise_is_not_taken() -> None:
    """Networks err alike for the most part: beyond a few, what another brings on twelve films is luck, and only taken without the rule."""
    candidates, truth, spacing = candidates_with_noise([4.0] * 12, num=12)
    alike = np.random.default_rng(7).normal(0, 10, truth.shape)
    for candidate in candidates:
        candidate.outputs.points_px[...] += alike
    careful = greedy_select(candidates, truth, spacing, max_members=12)
    greedy = greedy_select(candidates, truth, spacing, max_members=12, noise=0.0)
    assert 1 < len(careful.members) < len(greedy.members)
    assert greedy.score_mm < careful.score_mm


def test_what_a_selection_expects_of_new_films_is_not_what_it_was_chosen_by() -> None:
    """Of 40 networks that are equally good, the one that is best on 12 films owes that to the films."""
    claimed, expected, true = [], [], []
    for seed in range(8):
        random = np.random.default_rng(seed)
        spread = random.uniform(5, 40, (12, 1, 1))  # films differ in difficulty
        frame, affines = Frame(Canvas(64, 64), HeatmapCodec(1, "mse", 2.0)), np.stack([fit_affine((200, 200), Canvas(64, 64))] * 12)
        truth = random.uniform(50, 150, (12, 2, 2))
        pool = [
            Candidate(MemberOutputs(truth + spread * random.normal(0, 1, truth.shape), np.ones((12, 2), np.float32)), frame, affines)
            for _ in range(40)
        ]
        found = greedy_select(pool, truth, np.full((12, 2), 0.1), max_members=1)
        claimed.append(found.score_mm)
        expected.append(found.expected.mre_mm)
        true.append(float(np.mean(spread)) * 0.1 * np.sqrt(np.pi / 2))
        assert found.expected.low_mm < found.expected.mre_mm < found.expected.high_mm
    assert np.mean(claimed) < 0.8 * np.mean(true), "the winner's own figure flatters it"
    assert np.mean(expected) == pytest.approx(np.mean(true), rel=0.15)


def test_the_best_single_candidate_is_of_the_group_that_is_best_on_average() -> None:
    """One seed of a bad setting is luckiest on these films; what is expected is of the same rule."""
    candidates, truth, spacing = candidates_with_noise([4, 40, 5, 5])
    groups = ["lucky", "lucky", "steady", "steady"]
    found = greedy_select(candidates, truth, spacing, groups=groups)
    assert found.trace[0].picks == (0,) and found.single in (2, 3)
    alone = greedy_select(candidates[2:], truth, spacing)
    assert found.expected_single == alone.expected_single and found.single - 2 == alone.single
    each = greedy_select(candidates, truth, spacing)
    assert each.single == 0 and each.expected_single.mre_mm < found.expected_single.mre_mm


def test_confidence_decides_between_a_sure_and_an_unsure_member() -> None:
    candidates, truth, spacing = candidates_with_noise([0, 0])
    random = np.random.default_rng(3)
    lost = random.random((2, 40, 5)) < 0.3
    made = []
    for number, candidate in enumerate(candidates):  # where a network is lost it is far off, and knows it
        points = truth + np.where(lost[number][..., None], random.normal(0, 60, truth.shape), random.normal(0, 3, truth.shape))
        sure = np.where(lost[number], 0.02, 0.9).astype(np.float32)
        made.append(Candidate(MemberOutputs(points, sure), candidate.frame, candidate.affines))
    found = greedy_select(made, truth, spacing)
    assert found.combine == "confidence_mean" and set(found.members) == {0, 1}


def test_greedy_selection_stays_with_one_where_more_do_not_help() -> None:
    candidates, truth, spacing = candidates_with_noise([5, 200, 300])
    found = greedy_select([candidates[0], candidates[0], *candidates[1:]], truth, spacing)
    assert (found.members, found.weights, found.combine) == ((0,), (1.0,), "single")
    assert greedy_select(candidates, truth, spacing, max_members=1).members == (0,)


def test_the_heatmap_mean_wins_where_a_second_peak_hides_the_truth() -> None:
    candidates, truth, spacing = candidates_with_noise([0, 0])
    frame, affines = candidates[0].frame, candidates[0].affines
    in_input = torch.from_numpy(transform(affines, truth))
    sigma = torch.full((5,), 2.0)
    right = frame.codec.encode(in_input, sigma, (64, 64)).maps()
    wrong = [frame.codec.encode(in_input + torch.tensor(shift), sigma, (64, 64)).maps() for shift in ((13.0, 0.0), (0.0, 13.0))]
    made = []
    for number in range(2):  # each is misled on every second film, and never both
        misled = torch.arange(len(truth))[:, None, None, None] % 2 == number
        maps = torch.where(misled, 0.8 * right + wrong[number], right)
        points, _ = frame.codec.decode(maps)
        points_px = transform(invert(affines), points.double().numpy())
        made.append(Candidate(MemberOutputs(points_px, np.ones((40, 5), np.float32), maps.half()), frame, affines))
    found = greedy_select(made, truth, spacing)
    assert found.combine == "heatmap_mean" and set(found.members) == {0, 1}
    # 0.1 mm per px, 3.1 film px per input px, and a peak that the wrong one's tail pulls by a hair.
    assert found.score_mm < 0.05 < found.trace[0].score_mm
    assert np.allclose(combined_points(made, "coordinate_mean"), (made[0].outputs.points_px + made[1].outputs.points_px) / 2)


def test_what_is_chosen_by_is_what_the_predictor_gives() -> None:
    members = [dot_member(160, 4), dot_member(96, 2, "cross_entropy")]
    films = [dot_film(size, (40.2, 61.7), 6) for size in ((150, 120), (130, 140))]
    made = []
    for member in members:
        images = np.stack([resample(torch.from_numpy(film)[None, None], member.canvas)[0, 0].numpy().astype(np.uint8) for film in films])
        affines = np.stack([fit_affine((film.shape[0], film.shape[1]), member.canvas) for film in films])
        made.append(Candidate.of(member, member_outputs(member, images, affines, heatmaps=True), affines))
    for combine, picks, weights in (
        ("coordinate_mean", [0, 1], [1, 1]),
        ("confidence_mean", [0, 0, 1], [2, 1]),
        ("heatmap_mean", [0, 1, 1], [1, 2]),
    ):
        expected = [each.points_px for each in Predictor(members, weights, combine, DOT).predict_batch(films)]
        # float16 maps tell a peak to a hundredth of a pixel.
        assert np.allclose(combined_points([made[pick] for pick in picks], combine), expected, atol=0.01)


def records_of(num: int = 6) -> list[CephRecord]:
    random = np.random.default_rng(1)
    points = random.uniform(0, 100, (num, 19, 2))
    shift = np.array([3.0, 4.0])
    return [
        CephRecord(
            f"{n:03d}", Path(f"{n}.png"), (120, 100), points[n], (0.5, 0.5), annotators={"a": points[n] - shift, "b": points[n] + shift}
        )
        for n in range(num)
    ]


def test_scores_stand_beside_the_mean_shape_and_the_readers() -> None:
    records = records_of()
    truth = np.stack([record.landmarks_px for record in records])
    assert score(truth + np.array([3, 4]), records).summary.mre_mm == pytest.approx(2.5)
    found = {each.name: each.summary.mre_mm for each in readers(records)}
    names = ["reader a against the reference", "reader b against the reference", "reader a against reader b"]
    assert found == pytest.approx(dict(zip(names, (2.5, 2.5, 5.0), strict=True)))
    assert mean_shape(records, records).summary.mre_mm == pytest.approx(
        float(np.linalg.norm((truth - truth.mean(0)) * 0.5, axis=-1).mean())
    )
    assert list(readers([dataclasses.replace(records[0], annotators={})])) == []


@pytest.mark.parametrize(
    ("errors", "expected"),
    [([1.0] * 20, "excellent"), ([1.0] * 15 + [3.9] * 5, "good"), ([1.0] * 13 + [3.9] * 7, "minimum"), ([3.0] * 20, "below minimum")],
)
def test_tiers_follow_mre_and_both_shares(errors: list[float], expected: str) -> None:
    assert tier(summarize(np.array([errors]))) == expected


def test_a_device_that_is_not_there_is_refused() -> None:
    assert device_for("cpu") == torch.device("cpu")
    for wrong in ("tpu", "cuda:x", "cuda:99"):
        with pytest.raises(InputError, match="--device"):
            device_for(wrong)
