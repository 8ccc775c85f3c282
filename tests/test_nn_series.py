"""Networks for series and for sounds: what stands behind the end has no effect, and parts agree with a reference."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from netwright.core.errors import UsageError
from netwright.core.spec import AudioField, InputSpec, SeriesField, TargetSpec
from netwright.data.audio_front import AudioFront
from netwright.data.sequences import SequenceVector, SeriesFront
from netwright.nn.audio import AudioConvNet, LogMel, MelAugment, mel_centers, mel_filters, to_hertz, to_mel
from netwright.nn.masked import MaskedNorm, MaskedPool, mask_of
from netwright.nn.series import Inception, InceptionSeriesNet, ResidualSeriesBlock, ResidualSeriesNet, SeriesConv
from netwright.recipes.audio import audio_conv

NETS = {
    "resnet": lambda **o: ResidualSeriesNet(2, 40, width=4, **o),
    "inception": lambda **o: InceptionSeriesNet(2, 40, width=3, depth=3, **o),
    "long": lambda **o: ResidualSeriesNet(2, 1500, width=4, depth=2, **o),
}
LENGTHS = torch.tensor([40, 23, 7, 1])


def batch(n_steps: int = 40) -> torch.Tensor:
    x = torch.randn(4, n_steps, 2, generator=torch.Generator().manual_seed(0))
    return x * (torch.arange(n_steps) < LENGTHS[:, None]).unsqueeze(2)


@pytest.mark.parametrize("norm", ["batch", "layer", "none"])
@pytest.mark.parametrize("pool", ["mean", "max", "both"])
@pytest.mark.parametrize("name", NETS)
def test_padding_has_no_effect_on_a_network_for_series(name: str, pool: str, norm: str) -> None:
    net = NETS[name](pool=pool, norm=norm).eval()
    x, longer = batch(), torch.cat([batch(), torch.zeros(4, 13, 2)], 1)
    alone = [net(x[i : i + 1, : int(n)], LENGTHS[i : i + 1]) for i, n in enumerate(LENGTHS)]
    assert torch.allclose(net(x, LENGTHS), torch.cat(alone), atol=1e-5)
    assert torch.allclose(net(x, LENGTHS), net(longer, LENGTHS), atol=1e-5)


@pytest.mark.parametrize("name", ["resnet", "inception"])
def test_the_amount_of_padding_has_no_effect_in_training_either(name: str) -> None:
    net = NETS[name]().train()
    longer = torch.cat([batch(), torch.zeros(4, 13, 2)], 1)
    assert torch.allclose(net(batch(), LENGTHS), net(longer, LENGTHS), atol=1e-4)


@pytest.mark.parametrize("name", NETS)
def test_every_parameter_of_a_network_for_series_gets_a_gradient(name: str) -> None:
    net = NETS[name]()
    x = torch.randn(3, 40, 2)
    net(x, torch.tensor([40, 30, 20])).square().sum().backward()
    assert all(p.grad is not None and bool((p.grad != 0).any()) for p in net.parameters())


@pytest.mark.parametrize("shape", [(3, 5, 11), (3, 5, 4, 11)])
def test_a_masked_batch_norm_is_that_of_the_steps_that_are_there(shape: tuple[int, ...]) -> None:
    x, lengths = torch.randn(shape), torch.tensor([11, 6, 2])
    norm = MaskedNorm(5)
    y = norm(x, mask_of(lengths, 11))
    steps = torch.cat([x[i, ..., : int(n)].flatten(1) for i, n in enumerate(lengths)], 1)
    mean, deviation = steps.mean(1), steps.std(1, unbiased=False)
    for i, n in enumerate(lengths):
        some = x[i, ..., : int(n)].flatten(1)
        wanted = (some - mean[:, None]) / (deviation[:, None] ** 2 + 1e-5).sqrt()
        assert torch.allclose(y[i, ..., : int(n)].flatten(1), wanted, atol=1e-5)


def test_without_padding_a_masked_norm_is_torchs_own() -> None:
    x, own = torch.randn(4, 5, 9), nn.BatchNorm1d(5)
    assert torch.equal(MaskedNorm(5)(x, None), own(x))


def test_a_residual_block_of_one_channel_is_what_its_formula_says() -> None:
    net = ResidualSeriesNet(1, 12, width=3, depth=1, norm="none").eval()
    block, x = net.blocks[0], torch.randn(2, 1, 12)
    first, second, third, short = (part.conv for part in (block.first, block.second, block.third, block.short))
    wanted = (short(x) + third(second(first(x).relu()).relu())).relu().mean(2)
    assert torch.allclose(net(x.transpose(1, 2), torch.tensor([12, 12])), wanted, atol=1e-6)


def test_a_block_takes_nothing_from_steps_behind_the_end() -> None:
    torch.manual_seed(0)
    block, x = ResidualSeriesBlock(2, 3, norm="layer").eval(), batch().transpose(1, 2)
    y = block(x, mask_of(LENGTHS, x.shape[2]))
    for row, n in zip(range(4), LENGTHS.tolist(), strict=True):
        torch.testing.assert_close(y[row : row + 1, :, :n], block(x[row : row + 1, :, :n], None), rtol=1e-4, atol=1e-5)


def test_an_inception_module_has_no_window_longer_than_the_series() -> None:
    assert [conv.kernel_size[0] for conv in Inception(1, 2, n_steps=24).convs] == [23, 19, 9]
    assert Inception(1, 2, n_steps=1)(torch.zeros(1, 1, 1), None).shape == (1, 8, 1)


def test_long_series_are_brought_down_first() -> None:
    net = ResidualSeriesNet(1, 1500, width=2)
    assert (net.stride, net.n_steps) == (3, 500)


@pytest.mark.parametrize(
    "make", [lambda: MaskedNorm(3, "bach"), lambda: MaskedPool(3, "men"), lambda: SeriesConv(1, 1, 3, norm="x")]
)
def test_an_unknown_option_is_refused_with_what_there_is(make: Any) -> None:
    with pytest.raises(UsageError, match=r"there is no (norm|pooling)"):
        make()


def test_values_behind_the_end_of_a_series_do_not_reach_the_network() -> None:
    field = SeriesField(n_steps=30, channels=1, shortest=5)
    net = SequenceVector(SeriesFront(field), ResidualSeriesNet(1, 30, width=2)).eval()
    x = torch.randn(2, 1, 30)
    changed = x.clone()
    changed[1, :, 5:] = 1e6
    lengths = torch.tensor([30, 5])
    assert torch.equal(net({"series": x, "series:length": lengths}), net({"series": changed, "series:length": lengths}))


def test_the_mel_scale_has_1000_hertz_near_1000_and_goes_back() -> None:
    assert float(to_mel(1000.0)) == pytest.approx(1000.0, abs=0.05)
    assert to_hertz(to_mel(torch.tensor([50.0, 440.0, 3999.0]))).tolist() == pytest.approx([50.0, 440.0, 3999.0])


def test_filters_are_triangles_between_the_centres_of_their_neighbours() -> None:
    n_bands, n_fft, rate = 12, 1024, 16000
    got, edges = mel_filters(n_bands, n_fft, rate).double().numpy(), mel_centers(n_bands, rate).numpy()
    for k in range(n_bands):
        weights = [
            max(
                0.0, min((f - edges[k]) / (edges[k + 1] - edges[k]), (edges[k + 2] - f) / (edges[k + 2] - edges[k + 1]))
            )
            for f in np.arange(n_fft // 2 + 1) * rate / n_fft
        ]
        assert got[:, k] == pytest.approx(np.array(weights) / sum(weights), abs=1e-6)


def test_log_mel_frames_agree_with_a_transform_written_out() -> None:
    rate, n = 8000, 1000
    samples = 0.3 * np.sin(2 * np.pi * 700 * np.arange(n) / rate) + 0.01 * np.random.default_rng(0).normal(size=n)
    got, lengths = LogMel(rate, n_bands=20)(torch.tensor(samples)[None].float(), torch.tensor([n]))
    window, size, hop, n_fft = np.zeros(256), 200, 80, 256
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)
    window[28:228] = hann * 2 / hann.sum()
    padded = np.concatenate([np.zeros(n_fft // 2), samples, np.zeros(n_fft)])
    frames = [np.abs(np.fft.rfft(padded[k * hop : k * hop + n_fft] * window)) ** 2 for k in range(math.ceil(n / hop))]
    wanted = 10 * np.log10(np.array(frames) @ mel_filters(20, n_fft, rate).double().numpy() + 1e-9)
    assert int(lengths[0]) == len(frames) == got.shape[2]
    assert np.abs(got[0].numpy().T - wanted).max() < 0.02


def test_a_tone_is_loudest_in_the_band_of_its_pitch() -> None:
    rate = 8000
    edges = mel_centers(30, rate)
    for band in (3, 15, 27):
        tone = torch.sin(2 * math.pi * float(edges[band + 1]) * torch.arange(rate) / rate)[None]
        frames, _ = LogMel(rate, n_bands=30)(tone, torch.tensor([rate]))
        assert int(frames[0, :, 50].argmax()) == band


def sounds() -> dict[str, torch.Tensor]:
    return {
        "audio": 0.1 * torch.randn(3, 2400, generator=torch.Generator().manual_seed(1)),
        "audio:length": torch.tensor([2400, 900, 30]),
    }


@pytest.mark.parametrize("norm", ["batch", "layer", "none"])
@pytest.mark.parametrize("level", ["row", "all"])
def test_samples_behind_the_end_of_a_sound_have_no_effect(level: str, norm: str) -> None:
    field = AudioField(rate=8000, n_steps=2400)
    net = SequenceVector(AudioFront(field, level=level), AudioConvNet(40, width=2, norm=norm)).eval()
    x = sounds()
    noisy = x["audio"].clone()
    noisy[1, 900:], noisy[2, 30:] = 9.0, -9.0
    longer = torch.cat([noisy, torch.ones(3, 700)], 1)
    alone = [
        net({"audio": x["audio"][i : i + 1, :n], "audio:length": x["audio:length"][i : i + 1]})
        for i, n in enumerate([2400, 900, 30])
    ]
    assert torch.allclose(net(x), torch.cat(alone), atol=1e-3)
    assert torch.allclose(net(x), net({"audio": longer, "audio:length": x["audio:length"]}), atol=1e-3)


def test_a_louder_recording_is_the_same_where_the_level_of_a_row_is_taken_out() -> None:
    field = AudioField(rate=8000, n_steps=2400)
    x = sounds()
    louder = {**x, "audio": 4 * x["audio"]}
    gap = {
        level: (AudioFront(field, level=level)(x)[0] - AudioFront(field, level=level)(louder)[0]).abs().max()
        for level in ("row", "all")
    }
    assert gap["row"] < 0.05 < 0.5 < gap["all"]


def test_samples_have_gradients() -> None:
    field, x = AudioField(rate=8000, n_steps=2400), sounds()
    leaf = x["audio"].clone().requires_grad_(True)
    SequenceVector(AudioFront(field), AudioConvNet(40, width=2)).eval()({**x, "audio": leaf}).sum().backward()
    assert leaf.grad is not None and bool((leaf.grad[0] != 0).any()) and not bool((leaf.grad[1, 900:] != 0).any())


def test_changes_of_frames_happen_in_training_only_and_keep_within_the_sound() -> None:
    x, lengths = torch.randn(64, 20, 30), torch.randint(2, 31, (64,))
    change = MelAugment(8000, 20, warp=0.2, speed=0.2, mask=0.3)
    assert change.eval()(x, lengths)[0] is x
    changed, longer = change.train()(x, lengths)
    assert changed.shape == x.shape and bool((longer >= 1).all()) and bool((longer <= 30).all())
    assert bool(((longer - lengths).abs() <= 0.26 * lengths + 1).all())


def test_a_warp_moves_a_band_to_the_frequency_that_it_says() -> None:
    change = MelAugment(8000, 40, warp=0.2).train()
    x = torch.zeros(1, 40, 1)
    x[0, 20] = 1.0
    torch.manual_seed(3)
    moved = int(change(x, torch.tensor([1]))[0][0, :, 0].argmax())
    torch.manual_seed(3)
    factor = 1 + 0.2 * (2 * float(torch.rand(1, 1, dtype=torch.float64)) - 1)
    assert abs(float(change.centers[moved]) * factor / float(change.centers[20]) - 1) < 0.05


def test_another_level_is_refused() -> None:
    with pytest.raises(UsageError, match="level"):
        audio_conv(
            InputSpec(kind="audio", fields=(AudioField(rate=8000, n_steps=80),)),
            TargetSpec(name="y", task="number"),
            level="rows",
        )
