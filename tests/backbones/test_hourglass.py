"""The stacked hourglass: published sizes, every image size, and that each stage really hears the one before."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from punctum import backbones, heads, ops
from punctum.backbones import Backbone
from punctum.backbones.hourglass import Hourglass, Residual
from punctum.heads import Head, Target
from punctum.model import KeypointModel, ModelConfig
from punctum.schema import Schema

K = 3
WITH_LOGITS = [name for name, cls in heads.available().items() if cls.logits is not Head.logits]


def small(stacks: int = 2, **options: object) -> Backbone:
    torch.manual_seed(0)
    backbone = backbones.build("hourglass", stacks=stacks, width=0.0625, **options)
    backbone.connect(K)
    return backbone.eval()


def first_maps(features: Tensor) -> Tensor:
    return features[:, :K]


def model(head: str = "dsnt", stacks: int = 2, width: float = 0.0625) -> KeypointModel:
    torch.manual_seed(0)
    schema = Schema(tuple(f"point {i}" for i in range(K)))
    return KeypointModel(
        ModelConfig(schema, (64, 64), {"name": "hourglass", "stacks": stacks, "width": width}, {"name": head})
    )


def images(batch: int = 2, size: tuple[int, int] = (64, 64)) -> Tensor:
    return torch.rand(batch, 3, *size, generator=torch.Generator().manual_seed(5))


def target(batch: int = 2) -> Target:
    coords = torch.rand(batch, K, 2, generator=torch.Generator().manual_seed(3)) - 0.5
    return Target(coords, torch.ones(batch, K, dtype=torch.bool))


def loss_of(network: KeypointModel, batch: int = 2) -> Tensor:
    found = network.losses(network(images(batch)), target(batch))
    return torch.stack([ops.average_loss(term, target(batch).visible) for term in found.values()]).sum()


def conv(i: int, o: int, k: int) -> int:
    return i * o * k * k + o


def residual(i: int, o: int) -> int:
    """Parameters, by hand: three batch norms, three convolutions, a fourth where the width changes."""
    norms = 2 * (i + o // 2 + o // 2)
    return (
        norms + conv(i, o // 2, 1) + conv(o // 2, o // 2, 3) + conv(o // 2, o, 1) + (conv(i, o, 1) if i != o else 0)
    )


# Known figures of the network with one residual per place and 16 heatmaps: 3.59, 6.73, 13.0 and 25.59 million.
@pytest.mark.parametrize(("stacks", "published"), [(1, 3_586_960), (2, 6_730_912), (4, 13_018_816), (8, 25_594_624)])
def test_published_number_of_parameters(stacks: int, published: int) -> None:
    stem = conv(3, 64, 7) + 2 * 64 + residual(64, 128) + residual(128, 256) + residual(256, 256)
    # Four levels of three residuals, the innermost one, the one behind; then a convolution and its norm.
    stage = (4 * 3 + 1 + 1) * residual(256, 256) + conv(256, 256, 1) + 2 * 256
    merge = conv(256, 256, 1) + conv(16, 256, 1)
    by_hand = stem + stacks * (stage + conv(256, 16, 1)) + (stacks - 1) * merge
    with torch.device("meta"):
        names = tuple(map(str, range(16)))
        network = KeypointModel(
            ModelConfig(Schema(names), (256, 256), {"name": "hourglass", "stacks": stacks}, {"name": "heatmap"})
        )
        outputs = network(torch.zeros(1, 3, 256, 256))
    assert sum(p.numel() for p in network.parameters()) == by_hand == published
    assert [output.shape for output in outputs] == [(1, 16, 64, 64)] * stacks


def test_eight_stacks_have_8_percent_more_parameters_than_resnet50() -> None:
    # Nibali et al. 2018, Section 6.4: "ResNet-50@28px has 8% fewer parameters" than 8 stacks.
    assert pytest.approx(0.08, abs=0.005) == 1 - (23_508_032 + 2048 * 16) / 25_594_624


@pytest.mark.parametrize("blocks", [1, 2])
def test_feature_size_is_the_real_one(blocks: int) -> None:
    backbone = small(blocks=blocks)
    for size in [(1, 1), (2, 3), (7, 9), (31, 33), (64, 64), (65, 63), (100, 52), (67, 129)]:
        features = backbone(torch.zeros(1, 3, *size), [first_maps] * 2)
        assert [f.shape for f in features] == [(1, backbone.channels, *backbone.feature_size(size))] * 2, size


@pytest.mark.parametrize("size", [5, 7, 8, 9, 13])
def test_what_goes_down_comes_up_at_its_own_place(size: int) -> None:
    """With residuals that do nothing, an hourglass adds to each cell the maximum of the blocks it lies in."""
    hourglass = Hourglass(2, blocks=1, depth=2).eval()
    for module in hourglass.modules():
        if isinstance(module, Residual):
            torch.nn.init.zeros_(module.conv3.weight)
            torch.nn.init.zeros_(module.conv3.bias)
    x = torch.rand(1, 2, size, size)
    found = hourglass(x)
    wanted = torch.empty_like(x)
    for i in range(size):
        for j in range(size):
            blocks = [x[..., i // n * n : i // n * n + n, j // n * n : j // n * n + n] for n in (2, 4)]
            # Straight across, then the 2 x 2 block's branch, then the 4 x 4 block's.
            wanted[..., i, j] = x[..., i, j] + sum(block.amax((-2, -1)) for block in blocks)
    torch.testing.assert_close(found, wanted)


def test_the_heatmaps_of_a_stage_reach_the_next() -> None:
    network = model(stacks=3).eval()
    before = network(images())
    with torch.no_grad():
        network.heads[0].conv.weight += 1
    after = network(images())
    assert all(not torch.allclose(a, b) for a, b in zip(before, after, strict=True))
    with torch.no_grad():
        network.heads[2].conv.weight += 1
    assert torch.equal(network(images())[1], after[1])


def test_feedback_is_features_plus_two_convolutions() -> None:
    backbone, x = small(), images()
    one, two = backbone(x, [first_maps] * 2)
    start, merge = backbone.stem(x), backbone.merges[0]
    wanted = start + merge.features(one) + merge.logits(first_maps(one))
    torch.testing.assert_close(backbone.stacks[1](wanted), two)


def test_every_stage_is_supervised_and_every_parameter_learns() -> None:
    network = model(stacks=3).train()
    outputs = network(images(4))
    found = network.losses(outputs, target(4))
    single = [head.losses(output, target(4)) for head, output in zip(network.heads, outputs, strict=True)]
    for term, values in found.items():
        torch.testing.assert_close(values, torch.stack([losses[term] for losses in single]).sum(0))
    loss_of(network, 4).backward()
    silent = [name for name, p in network.named_parameters() if p.grad is None or p.grad.abs().max() == 0]
    # A bias in front of a batch norm is taken away by it.
    assert [name for name in silent if not name.endswith("bias")] == []


def test_the_last_loss_reaches_the_first_head_through_its_heatmaps() -> None:
    network = model().train()
    outputs = network(images())
    network.heads[1].losses(outputs[1], target())["euclidean"].sum().backward()
    assert network.heads[0].conv.weight.grad.abs().max() > 0


def test_progress_reaches_the_head_of_every_stage() -> None:
    network = model("sampling", stacks=3)
    start = [head.tau for head in network.heads]
    network.set_progress(1.0)
    assert start == [2.0] * 3
    assert [head.tau for head in network.heads] == [0.5] * 3


def test_absent_points_teach_the_head_of_every_stage() -> None:
    network = model("density").train()
    truth = target()
    missing = torch.zeros_like(truth.visible)
    missing[0, 1] = True
    known = Target(truth.coords, truth.visible & ~missing, missing)
    assert torch.equal(network.counts(known), truth.visible)
    outputs = network(images())
    ops.average_loss(network.losses(outputs, known)["kl"], missing).backward()
    for head, (logits, absent) in zip(network.heads, outputs, strict=True):
        assert head.presence.bias.grad[1].abs() > 1e-4
        assert head.presence.bias.grad[[0, 2]].abs().max() == 0
        assert (logits.shape, absent.shape) == ((2, K, 16, 16), (2, K))


@pytest.mark.parametrize("head", WITH_LOGITS)
def test_every_head_with_logits_learns_on_it(head: str) -> None:
    network = model(head).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    history = []
    for step in range(4):
        network.set_progress(step / 4)
        optimizer.zero_grad()
        loss = loss_of(network)
        loss.backward()
        assert all(p.grad is None or p.grad.isfinite().all() for p in network.parameters())
        optimizer.step()
        history.append(loss.item())
    assert torch.isfinite(torch.tensor(history)).all()
    assert network.eval().decode(network(images())).coords.shape == (2, K, 2)


def test_some_heads_have_logits() -> None:
    assert {"dsnt", "heatmap"} <= set(WITH_LOGITS)


def test_learns_where_a_bright_square_is() -> None:
    network = model(width=0.125).train()
    places = torch.randint(8, 56, (6, K, 2), generator=torch.Generator().manual_seed(1))
    pictures = torch.zeros(6, 3, 64, 64)
    for i in range(6):
        for k in range(K):
            x, y = places[i, k].tolist()
            pictures[i, k, y - 3 : y + 4, x - 3 : x + 4] = 1
    truth = Target(ops.to_normalized(places.float(), (64, 64)), torch.ones(6, K, dtype=torch.bool))
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    for _ in range(30):
        optimizer.zero_grad()
        outputs = network(pictures)
        sum(ops.average_loss(term, truth.visible) for term in network.losses(outputs, truth).values()).backward()
        optimizer.step()
    error = (network.decode(outputs).coords - truth.coords).norm(dim=-1)
    assert error.median() < 0.15


def test_saved_and_loaded_it_predicts_the_same_bits(tmp_path: Path) -> None:
    network = model().train()
    network(images(4))
    network.eval().save(tmp_path)
    loaded = KeypointModel.load(tmp_path)
    assert torch.equal(loaded(images())[-1], network(images())[-1])


def test_weights_for_other_keypoints_are_refused(tmp_path: Path) -> None:
    model().save(tmp_path)
    description = tmp_path / "model.json"
    text = description.read_text()
    description.write_text(text.replace('"point 2"', '"point 2",\n"point 3"'))
    assert description.read_text() != text
    with pytest.raises(ValueError, match=r"model\.safetensors.*merges\.0\.logits\.weight"):
        KeypointModel.load(tmp_path)


def test_exports() -> None:
    network = model().eval()
    exported = torch.export.export(network, (images(),)).module()
    for found, wanted in zip(exported(images()), network(images()), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_compiles_without_a_break_in_the_graph() -> None:
    network = model().eval()
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    for found, wanted in zip(compiled(images()), network(images()), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def test_without_its_heads_it_says_what_is_missing() -> None:
    backbone = backbones.build("hourglass", stacks=2, width=0.0625)
    with pytest.raises(ValueError, match="call connect"):
        backbone(images(), [first_maps] * 2)
    with pytest.raises(ValueError, match="one function per stack"):
        small()(images())
    assert len(small(stacks=1)(images())) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stacks": 0}, "stacks must be a whole number from 1 to 8"),
        ({"stacks": 9}, "stacks must be a whole number from 1 to 8"),
        ({"blocks": 0}, "blocks must be a whole number"),
        ({"width": -1.0}, "width must be a positive number"),
    ],
)
def test_bad_options_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        backbones.build("hourglass", **options)


def test_feature_size_wants_two_sides() -> None:
    with pytest.raises(ValueError, match="takes images of size"):
        small().feature_size((64,))
