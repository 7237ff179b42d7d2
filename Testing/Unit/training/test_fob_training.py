"""FoB's episodes from unlabelled volumes, how their slices are changed, and the run on them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from scipy import ndimage

from FewShotSAMLib.data.errors import InputError
from FewShotSAMLib.data.standard import measure_standard
from FewShotSAMLib.data.volume import Volume
from FewShotSAMLib.models.embedded import load_embedded
from FewShotSAMLib.models.fob import embedded_config, read_fob, save_fob
from FewShotSAMLib.models.fob_network import FobConfig, FobNetwork
from FewShotSAMLib.phantom.abdomen import abdomen
from FewShotSAMLib.training import fob_generated
from FewShotSAMLib.training.fob import FobSchedule, FobTraining, train
from FewShotSAMLib.training.fob_start import start_from
from FewShotSAMLib.training.fob_volumes import AREA, VolumeEpisodes, prepare_volume
from FewShotSAMLib.training.pair_changes import (
    Warp,
    affine_matrix,
    gamma_changed,
    random_gamma,
    random_warp,
    warped,
    warped_masks,
)

CPU = torch.device("cpu")
SIDE = 64  # of pictures in these tests; the real ones have 256
SCHEDULE = FobSchedule(steps=60, rate=2e-3, factor=0.5, every=40)


@pytest.fixture(scope="module")
def patients() -> list[Volume]:
    return [abdomen(shape=(14, 96, 96), spacing=(3.4, 3.4, 14.0), seed=s).image for s in range(4)]


def prepared(patients, folder: Path, framing: str = "body", **changes):
    return [
        prepare_volume(replace(p, **changes), framing, folder, side=SIDE, least=150)
        for p in patients
    ]


@pytest.fixture(scope="module")
def volumes(patients, tmp_path_factory):
    return prepared(patients, tmp_path_factory.mktemp("cache"))


def episodes(volumes, **changes) -> VolumeEpisodes:
    known = {"seed": 5, "device": CPU, "pairs": 2, "structures": 3, "checked": 6}
    return VolumeEpisodes(volumes, **(known | changes))


def tensors(batch) -> list[torch.Tensor]:
    return [batch.support, batch.query, batch.picture, batch.support_masks, batch.query_masks]


def slice_of(picture: torch.Tensor, volume) -> int | None:
    """Which slice of a volume an unchanged picture shows."""
    found = [n for n, g in enumerate(volume.grey) if np.array_equal(picture[0], g.astype("f4"))]
    return found[0] if found else None


# -------------------------------------------------------------------------- volumes


def test_slices_are_those_of_the_thick_direction(patients, tmp_path):
    p = patients[0]
    lying = Volume(  # the same patient, stored with its slices last
        p.voxels.transpose(1, 2, 0), (p.spacing[2], *p.spacing[:2]), p.origin,
        p.direction[:, [2, 0, 1]], "MR", "lying",
    )
    one, other = (prepare_volume(v, "body", tmp_path, side=SIDE, least=150) for v in (p, lying))
    assert len(one.grey) == 14
    np.testing.assert_array_equal(one.grey, other.grey)


def test_a_coronal_scan_gives_coronal_slices(tmp_path):
    random = np.random.default_rng(0)
    scan = Volume(random.random((40, 6, 40)), (2.0, 9.0, 2.0), modality="MR")
    assert len(prepare_volume(scan, "slice", tmp_path, side=SIDE, least=50).grey) == 6


def test_published_pictures_are_z_scores_of_the_volume(patients, tmp_path):
    image = patients[0]
    z = measure_standard(image)
    ready = prepared([image], tmp_path, "slice")[0]
    batch = episodes([ready]).held_out()[0]
    wanted = torch.nn.functional.interpolate(
        torch.from_numpy(z.apply(image.voxels))[:, None], size=(SIDE, SIDE), mode="bilinear",
        antialias=True,
    )[:, 0]
    for picture in batch.support:
        assert torch.equal(picture[0], picture[1]) and torch.equal(picture[0], picture[2])
        away = (wanted - picture[0]).abs().flatten(1).mean(1).min()
        assert away < 0.01  # float16, and other ways to shrink


def test_ct_is_cut_at_its_window(tmp_path):
    units = np.full((6, 40, 40), -1000, np.int16)
    units[:, 5:35, 5:35] = 40
    units[:, 10:20, 10:20] = 3000
    ct = Volume(units, (1.0, 1.0, 4.0), modality="CT")
    ready = prepare_volume(ct, "slice", tmp_path, side=SIDE, least=50)
    assert ready.grey.max() == 1 and ready.grey.min() == 0
    assert np.isclose(np.median(ready.grey[ready.parts == ready.parts[3, 50, 50]]), 165 / 400,
                      atol=1e-3)


@pytest.mark.parametrize("voxels, reason", [
    (np.zeros((5, 20, 20, 3), np.uint8), "colour"),
    (np.random.default_rng(0).random((1, 20, 20)), "one slice"),
])  # fmt: skip
def test_unusable_volumes_are_refused_in_one_line(voxels, reason, tmp_path):
    kind = "RGB" if voxels.ndim == 4 else "MR"
    with pytest.raises(InputError, match=reason) as refused:
        prepare_volume(Volume(voxels, modality=kind, name="scan.nii"), "body", tmp_path)
    assert str(refused.value).startswith("scan.nii: ") and "\n" not in str(refused.value)


# ------------------------------------------------------------------------- episodes


def test_pairs_are_large_in_one_of_their_slices(volumes):
    for volume in volumes:
        pairs = volume.pairs()
        assert len(pairs)
        for part, index in pairs:
            assert part > 0, "air is no structure"
            for place in (index, index + 1):
                assert (volume.parts[place] == part).any()
            areas = [(volume.parts[place] == part).sum() for place in (index, index + 1)]
            assert max(areas) >= AREA * SIDE**2 / 256**2


def test_a_held_out_pair_is_two_neighbouring_slices_with_one_supervoxel(volumes):
    source = episodes(volumes)
    (apart,) = source.held_out_volumes
    shown = 0
    for batch in source.held_out():
        for row, pair in enumerate(batch.picture.tolist()):
            places = [slice_of(side[pair], apart) for side in (batch.support, batch.query)]
            assert None not in places and abs(places[0] - places[1]) == 1
            masks = [batch.support_masks[row].bool(), batch.query_masks[row].bool()]
            values = [
                {int(v) for v in apart.parts[place][mask.numpy()]}
                for place, mask in zip(places, masks)
            ]
            assert values[0] == values[1] and len(values[0]) == 1
            (value,) = values[0]
            assert masks[0].sum() == (apart.parts[places[0]] == value).sum()
            shown += 1
    assert sum(len(b.support) for b in source.held_out()) == 6 and shown >= 6


def test_a_step_always_makes_the_same_batch(volumes):
    one, again, other = episodes(volumes), episodes(volumes), episodes(volumes, seed=6)
    for step in (0, 7):
        for a, b in zip(tensors(one.batch(step)), tensors(again.batch(step))):
            assert torch.equal(a, b)
    assert not torch.equal(one.batch(0).support, one.batch(1).support)
    assert not torch.equal(one.batch(0).support, other.batch(0).support)
    for a, b in zip(one.held_out(), one.held_out()):
        assert torch.equal(a.support, b.support)


def test_batches_have_the_sizes_that_were_asked_for(volumes):
    for step in range(5):
        batch = episodes(volumes).batch(step)
        assert batch.support.shape == batch.query.shape == (2, 3, SIDE, SIDE)
        structures = len(batch.picture)
        assert batch.support_masks.shape == batch.query_masks.shape == (structures, SIDE, SIDE)
        assert torch.bincount(batch.picture, minlength=2).max() <= 3
        assert set(batch.picture.tolist()) == {0, 1}
        for masks in (batch.support_masks, batch.query_masks):
            assert set(masks.unique().tolist()) <= {0.0, 1.0}
    assert len(episodes(volumes, pairs=1, structures=1).batch(0).picture) == 1


def test_held_out_volumes_are_never_trained_on(volumes):
    source = episodes(volumes)
    (apart,) = source.held_out_volumes
    seen = {n: 0 for n in range(len(volumes))}
    for step in range(60):
        batch = source.batch(step)
        for picture in [*batch.support, *batch.query]:
            for n, volume in enumerate(volumes):
                seen[n] += slice_of(picture, volume) is not None
    kept = next(n for n, v in enumerate(volumes) if v is apart)
    assert seen.pop(kept) == 0
    assert min(seen.values()) > 0, "every other volume is trained on, often unchanged"


def test_of_a_single_volume_the_last_slices_are_held_out(volumes):
    volume = volumes[0]
    source = episodes([volume])
    learnt = [
        slice_of(p, volume) for s in range(40)
        for p in [*source.batch(s).support, *source.batch(s).query]
    ]
    kept = [
        slice_of(p, volume) for b in source.held_out() for p in [*b.support, *b.query]
    ]
    assert max(n for n in learnt if n is not None) < min(kept)


def test_volumes_without_anything_large_are_refused(tmp_path):
    noise = np.random.default_rng(0).random((4, 20, 20)).astype(np.float32)
    noise[:, 4:] = 0
    small = prepare_volume(
        Volume(noise, (1.0, 1.0, 9.0), modality="MR"), "slice", tmp_path, side=SIDE, least=1
    )
    with pytest.raises(InputError, match="no supervoxel"):
        episodes([small])


# ------------------------------------------------------------------- changes of a pair


def disc(x: float = 40, y: float = 30, radius: float = 9) -> torch.Tensor:
    rows, columns = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    return (((rows - y) ** 2 + (columns - x) ** 2) < radius**2).float()


def test_masks_are_warped_with_their_picture():
    for seed in range(30):
        where = random_warp(SIDE, torch.Generator().manual_seed(seed), CPU)
        mask = warped_masks(disc()[None], where)[0]
        picture = warped(disc() * 3 - 1, where, -1.0)
        assert set(mask.unique().tolist()) == {0.0, 1.0}
        assert picture.min() == -1 and 1.9 < picture.max() < 2 + 1e-5
        inside = picture > 0.5
        assert 2 * (inside & mask.bool()).sum() / (inside.sum() + mask.sum()) > 0.95


def test_warps_stay_within_what_was_published():
    areas, shifts = [], []
    for seed in range(200):
        where = random_warp(SIDE, torch.Generator().manual_seed(seed), CPU)
        mask = warped_masks(disc(31.5, 31.5)[None], where)[0]
        areas.append((mask.sum() / disc(31.5, 31.5).sum()).item())
        shifts.append(mask.nonzero().float().mean(0) - 31.5)
    # Scale 0.9 to 1.2, a disc's area with its square; shifts of 5 pixels times that scale, and
    # along x half of the picture's height times the sine of the shear.
    assert 0.75 < min(areas) < 0.88 and 1.3 < max(areas) < 1.55
    shifts = torch.stack(shifts).abs()
    assert 4 < shifts[:, 0].max() < 7 and 5 < shifts[:, 1].max() < 10.5


def pixels(grid: torch.Tensor) -> np.ndarray:
    """Places of `grid_sample` (S, S, 2) as pixels (x, y)."""
    return ((grid + 1) * (SIDE - 1) / 2).numpy()


def test_elastic_warps_bend():
    grid = random_warp(SIDE, torch.Generator().manual_seed(0), CPU).elastic
    y, x = np.mgrid[:SIDE, :SIDE]
    bent = (pixels(grid) - np.stack([x, y], -1)).std()
    # White noise of deviation 1/sqrt(3) under a Gaussian of sigma 5, times 10.
    assert bent == pytest.approx(10 / 3**0.5 / (2 * np.pi**0.5 * 5), rel=0.35)


@pytest.mark.parametrize("seed", range(4))
def test_a_warp_is_opencvs_affine_and_then_scipys_elastic_one(seed):
    """As published: both linear, the mean (0 of z-scores) outside, one of them after the other."""
    rng = np.random.default_rng(seed)
    side = 256
    picture = ndimage.gaussian_filter(rng.normal(size=(side, side)), 3) * 8
    angle, skew, tx, ty = rng.uniform(-5, 5, 4)
    scale = rng.uniform(0.9, 1.2)
    turn = np.vstack([cv2.getRotationMatrix2D((side / 2, side // 2), angle, 1), [0, 0, 1]])
    shift = np.array([[1, 0, tx], [0, 1, ty], [0, 0, 1]])
    r = np.deg2rad(skew)
    shear = np.array([[1, -np.sin(r), 0], [0, np.cos(r), 0], [0, 0, 1]])
    zoom = np.vstack([cv2.getRotationMatrix2D((side / 2, side // 2), 0, scale), [0, 0, 1]])
    matrix = zoom @ shear @ shift @ turn
    assert np.allclose(affine_matrix(side, angle, [tx, ty], skew, scale), matrix)
    moved = cv2.warpAffine(
        picture.astype(np.float32), matrix[:2], (side, side), flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT, borderValue=0,
    )
    dx, dy = (10 * ndimage.gaussian_filter(2 * rng.random((side, side)) - 1, 5, mode="constant")
              for _ in range(2))
    y, x = np.mgrid[:side, :side]
    theirs = ndimage.map_coordinates(moved, [y + dy, x + dx], order=1, mode="nearest")

    here = np.stack([x, y, np.ones_like(x)], -1) @ np.linalg.inv(matrix).T
    grids = (here[..., :2], np.stack([x + dx, y + dy], -1))
    warp = Warp(*(torch.from_numpy(g / ((side - 1) / 2) - 1).float() for g in grids))
    ours = warped(torch.from_numpy(picture).float(), warp, 0.0).numpy()
    # OpenCV rounds places to 1/32 of a pixel.
    steepest = np.abs(np.gradient(picture)).max()
    assert np.abs(ours - theirs).max() < 2 * steepest / 32
    masks = (torch.from_numpy(picture) > 0).float()[None]
    rounded = np.rint(ndimage.map_coordinates(
        cv2.warpAffine(masks[0].numpy(), matrix[:2], (side, side)), [y + dy, x + dx], order=1,
        mode="nearest",
    ))
    assert (warped_masks(masks, warp)[0].numpy() != rounded).mean() < 0.005


def test_the_projections_begin_as_the_other_convolutions():
    torch.manual_seed(0)
    encoder = FobNetwork(FobConfig(channels=64, grid=16, image_size=SIDE)).encoder
    for layer in (encoder.reduce1, encoder.reduce2):  # He, by the number of outputs
        assert layer.weight.std().item() == pytest.approx((2 / 64) ** 0.5, rel=0.03)


def test_gamma_keeps_ends_and_order():
    picture = torch.rand(SIDE, SIDE, generator=torch.Generator().manual_seed(0)) * 5 - 2
    generator = torch.Generator().manual_seed(1)
    gammas = [random_gamma(generator) for _ in range(100)]
    assert 0.5 <= min(gammas) < 0.6 and 1.4 < max(gammas) <= 1.5
    for gamma in (0.5, 1.0, 1.5):
        changed = gamma_changed(picture, gamma)
        assert torch.isclose(changed.min(), picture.min(), atol=1e-5)
        assert torch.isclose(changed.max(), picture.max(), atol=1e-5)
        assert torch.equal(changed.ravel().argsort(), picture.ravel().argsort())
        darker = changed < picture - 1e-4
        assert darker.any() == (gamma > 1)


def test_exactly_one_of_the_two_is_warped(volumes):
    """The other one's masks are those of the volume."""
    for step in range(20):
        batch = episodes(volumes, pairs=1, structures=1).batch(step)
        as_is = [
            any(
                np.array_equal(mask[0].numpy() > 0, volume.parts[index] == part)
                for volume in volumes for part, first in volume.pairs()
                for index in (first, first + 1)
            )
            for mask in (batch.support_masks, batch.query_masks)
        ]
        assert sum(as_is) == 1


# --------------------------------------------------------------------------- the run


@pytest.fixture(scope="module")
def backbone():
    return load_embedded(CPU)[0]


def small(backbone, seed: int = 1, **changes) -> FobTraining:
    known = {"image_size": SIDE, "grid": SIDE // 4}
    config = embedded_config(backbone.network.config, **(known | changes))
    return FobTraining(config, "cpu", seed, SCHEDULE, backbone)


def test_one_batch_is_learnt(volumes, backbone):
    run, batch = small(backbone), episodes(volumes).batch(0)
    before = run.error([batch])
    losses = [run.one_step(batch).total().item() for _ in range(40)]
    assert np.isfinite(losses).all()
    assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:5])
    assert run.error([batch])["distance"] < 0.5 * before["distance"]


def states(run: FobTraining) -> dict[str, torch.Tensor]:
    return {name: t.clone() for name, t in run.network.state_dict().items()}


class Broken(VolumeEpisodes):
    """Ctrl-C before the third step."""

    def batch(self, step: int):
        if step == 2:
            raise KeyboardInterrupt
        return super().batch(step)


def test_an_interrupted_run_goes_on_as_if_it_had_never_stopped(volumes, backbone, tmp_path):
    schedule = replace(SCHEDULE, steps=4)
    settings = {"seed": 5, "device": CPU, "pairs": 2, "structures": 3, "checked": 2}

    def fresh() -> FobTraining:
        run = small(backbone)
        run.schedule = schedule
        return run

    through = fresh()
    row = train(through, VolumeEpisodes(volumes, **settings), tmp_path / "through")
    first = fresh()
    with pytest.raises(KeyboardInterrupt):
        train(first, Broken(volumes, **settings), tmp_path / "broken")
    again = fresh()
    last = train(again, VolumeEpisodes(volumes, **settings), tmp_path / "broken")
    assert through.step == again.step == 4
    for name, tensor in states(through).items():
        assert torch.equal(states(again)[name], tensor), name
    for name in ("distance", "negatives_inside", "positives_inside"):
        assert last[name] == pytest.approx(row[name], nan_ok=True)
    assert sorted(p.name for p in (tmp_path / "broken").iterdir()) == ["log.csv", "run.pt"]


def test_a_run_that_is_cut_short_within_a_step_keeps_what_it_had(volumes, backbone, tmp_path):
    """By a second Ctrl-C, say, after the weights have moved and before that counts as a step."""
    run = small(backbone)
    run.save(tmp_path / "run.pt")
    before = (tmp_path / "run.pt").read_bytes()

    def stop(*_):
        raise KeyboardInterrupt

    run.optimiser.register_step_post_hook(stop)
    source = VolumeEpisodes(volumes, seed=5, device=CPU, pairs=2, structures=3, checked=1)
    with pytest.raises(KeyboardInterrupt):
        train(run, source, tmp_path)
    assert (tmp_path / "run.pt").read_bytes() == before


def test_the_published_network_trains_on_z_scored_slices(patients, tmp_path):
    ready = prepared(patients[:2], tmp_path, "slice")
    config = FobConfig(channels=16, image_size=SIDE, grid=SIDE // 4)
    run = FobTraining(config, "cpu", 0, FobSchedule())
    before = states(run)
    parts = run.one_step(episodes(ready, pairs=1, structures=1).batch(0))
    assert torch.isfinite(parts.total())
    moved = {n for n, t in states(run).items() if not torch.equal(t, before[n])}
    assert {"encoder.backbone.conv1.weight", "head.head.3.weight"} <= moved
    assert not any(n.startswith("refine.") for n in moved), "as published, it never learns"


# --------------------------------------------------------------------- initial weights


def test_a_run_begins_with_the_weights_of_another(backbone, tmp_path):
    one = small(backbone, seed=1, refinement="repaired")
    other = small(backbone, seed=2, refinement="official")
    save_fob(one.network, tmp_path / "fob.safetensors", {})
    assert start_from(other.network, tmp_path / "fob.safetensors") == "all weights"
    kept, _ = read_fob(tmp_path / "fob.safetensors")
    for name, tensor in kept.state_dict().items():
        assert torch.equal(other.network.state_dict()[name], tensor)
    assert other.network.config.refinement == "official", "the variant is the run's own"


@pytest.mark.parametrize(("first", "then"), [("none", "repaired"), ("official", "none")])
def test_a_refinement_that_the_other_lacks_begins_anew(backbone, tmp_path, first, then):
    one = small(backbone, seed=1, refinement=first)
    other = small(backbone, seed=2, refinement=then)
    save_fob(one.network, tmp_path / "fob.safetensors", {})
    before = {n: t.clone() for n, t in other.network.state_dict().items()}
    said = start_from(other.network, tmp_path / "fob.safetensors")
    assert said == "all weights but the refinement's"
    kept, _ = read_fob(tmp_path / "fob.safetensors")
    for name, tensor in other.network.state_dict().items():
        own = name.startswith("refine.")
        assert torch.equal(tensor, before[name] if own else kept.state_dict()[name])


@pytest.mark.parametrize("kind", ["torchvision", "without its last layer", "deeplab"])
def test_a_run_begins_with_a_trained_backbone(kind, tmp_path):
    from torchvision.models import resnet101

    torch.manual_seed(3)
    state = resnet101(weights=None).state_dict()
    given = {n: t for n, t in state.items() if kind == "torchvision" or not n.startswith("fc.")}
    if kind == "deeplab":
        given = {f"backbone.{n}": t for n, t in given.items()} | {
            "classifier.0.weight": torch.zeros(3), "aux_classifier.0.weight": torch.zeros(3)
        }
    torch.save(given, tmp_path / "resnet.pth")
    network = FobNetwork(FobConfig(channels=8, grid=16, image_size=SIDE))
    assert "backbone" in start_from(network, tmp_path / "resnet.pth")
    own = network.encoder.backbone.state_dict()
    for name in ("conv1.weight", "layer4.2.bn3.running_var"):
        assert torch.equal(own[name], state[name])
    assert torch.equal(own["fc.weight"], state["fc.weight"]) == (kind == "torchvision")


def test_weights_that_do_not_fit_are_refused(backbone, tmp_path):
    run = small(backbone)
    torch.save({"layer4.2.conv3.weight": torch.zeros(1)}, tmp_path / "resnet.pth")
    torch.save({"something": torch.zeros(1)}, tmp_path / "other.pth")
    save_fob(small(backbone, channels=88).network, tmp_path / "smaller.safetensors", {})
    for name, reason in (
        ("resnet.pth", "--backbone resnet101"), ("other.pth", "neither"),
        ("smaller.safetensors", "another network"), ("none.pth", "no such file"),
    ):
        before = states(run)
        with pytest.raises(InputError, match=reason) as refused:
            start_from(run.network, tmp_path / name)
        assert name in str(refused.value) and "\n" not in str(refused.value)
        assert all(torch.equal(t, before[n]) for n, t in states(run).items())


@pytest.mark.parametrize("option, value", [
    ("--minutes", "0"), ("--minutes", "nan"), ("--steps", "-1"), ("--rate", "inf"), ("--rate", "x"),
])
def test_generated_training_refuses_numbers_that_lead_nowhere(option, value, tmp_path, capsys):
    given = {"--minutes": "1", option: value}
    words = [word for pair in given.items() for word in pair]
    with pytest.raises(SystemExit) as ended:
        fob_generated.main([*words, "--folder", str(tmp_path / "run")])
    assert ended.value.code == 2 and not (tmp_path / "run").exists()
    assert f"argument {option}: " in capsys.readouterr().err


def test_the_shipped_fob_goes_on_on_generated_pictures(tmp_path, capsys):
    shipped = Path(fob_generated.__file__).parents[2] / "Resources" / "Models" / fob_generated.FILE
    given = ["--steps", "1", "--minutes", "9", "--device", "cpu", "--folder", str(tmp_path)]
    assert fob_generated.main([*given, "--rate", "1e-9", "--start", str(shipped)]) == 0
    assert "taken from" in capsys.readouterr().err
    before, after = (read_fob(p)[0].state_dict() for p in (shipped, tmp_path / fob_generated.FILE))
    assert all(torch.allclose(before[n], t, atol=1e-3) for n, t in after.items() if n in before)
    said = json.loads((tmp_path / fob_generated.FILE).with_suffix(".json").read_text("utf-8"))
    assert f"--start {shipped.name}" in said["command"] and said["steps"] == 1
    none = tmp_path / "none.safetensors"
    assert fob_generated.main([*given, "--start", str(none)]) == 2
    assert "none.safetensors" in capsys.readouterr().err
