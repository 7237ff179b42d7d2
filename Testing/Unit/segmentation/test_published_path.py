"""FoB's published weights from the file on disk to prompts in millimetres, against a literal form
of their loader and of their network (`fob_files_literal`, `fob_literal`)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import fob_files_literal as files
import fob_literal as literal
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from FewShotSAMLib.data.reading import read_labels, read_volume
from FewShotSAMLib.data.support import Support
from FewShotSAMLib.models.fob import FobModel
from FewShotSAMLib.models.fob_config import published_config
from FewShotSAMLib.models.fob_network import FobNetwork
from FewShotSAMLib.models.interfaces import ModelCard
from FewShotSAMLib.phantom.abdomen import abdomen
from FewShotSAMLib.prompting.methods.fob import FobBuilder
from FewShotSAMLib.segmentation.segmenter import Segmenter, load_segmenter

CPU = torch.device("cpu")
LIVER = 1
# name -> (modality, size of the square slices, spacing, axes that the product's own file has)
SCANS = {
    "MR": ("MR", 280, (1.4, 1.4, 7.7), "LPS"),
    "MR, prepared": ("MR", 256, (1.25, 1.25, 7.7), "LAS"),
    "CT": ("CT", 512, (0.78, 0.78, 7.0), "RPS"),
}


def small_resnet() -> nn.Module:
    """torchvision's ResNet with one block where ResNet-101 has up to 23, strides as published."""
    from torchvision.models.resnet import Bottleneck, ResNet

    return ResNet(Bottleneck, [1, 1, 1, 1], replace_stride_with_dilation=[True, True, False])


def published_fob() -> tuple[FobModel, dict[str, Tensor]]:
    """FoB as published but for its depth and width, with random weights; and the weights."""
    network = FobNetwork(replace(published_config("any"), channels=16))
    network.encoder.backbone = nn.ModuleDict(dict(small_resnet().named_children()))
    shapes = {name: tuple(t.shape) for name, t in network.state_dict().items()}
    state = literal.random_values(shapes)
    network.load_state_dict(state)
    return FobModel(network, ModelCard("random"), CPU, precision="fp32"), state


class LiteralEncoder:
    """One z-scored picture (256, 256) -> features (C, 64, 64) and the threshold, float64."""

    def __init__(self, state: dict[str, Tensor]) -> None:
        self.state, self.network, self.seen = state, small_resnet().eval(), {}
        start = "encoder.backbone."
        own = {n.removeprefix(start): t for n, t in state.items() if n.startswith(start)}
        self.network.load_state_dict(own)
        self.network.layer3.register_forward_hook(
            lambda _module, _inputs, output: self.seen.update(layer3=output)
        )

    @torch.no_grad()
    def __call__(self, picture: Tensor) -> tuple[Tensor, float]:
        scores = self.network(picture.expand(3, -1, -1)[None])[0]
        features = F.conv2d(self.seen["layer3"], self.state["encoder.reduce1.weight"])[0]
        return features.double(), float(literal.linear(scores, self.state, "encoder.reduce1d"))


def written(folder: Path, name: str, seed: int) -> dict[str, tuple[Path, Path]]:
    """A generated patient as dcm2nii stores it ("raw"), and in other axes ("own")."""
    modality, side, spacing, axes = SCANS[name]
    made = abdomen(shape=(5, 96, 96), spacing=(3.8, 3.8, 36.0), seed=seed)
    place = np.arange(side) * 96 // side
    grey = made.image.voxels[:, place][:, :, place].astype(np.float32)
    if modality == "CT":
        grey = grey / grey.max() * 700 - 300
    labels = (made.truth.voxels[:, place][:, :, place] == LIVER).astype(np.uint8)
    result = {}
    for kind, want in (("raw", "LPS"), ("own", axes)):
        paths = folder / f"{kind}_image_{seed}.nii.gz", folder / f"{kind}_label_{seed}.nii.gz"
        for voxels, path in zip((grey, labels), paths):
            image = sitk.GetImageFromArray(voxels)  # rows from anterior to posterior
            image.SetSpacing(spacing)
            image.SetOrigin((-170.0, -150.0, 30.0))
            image = image[:, ::-1] if kind == "raw" else sitk.DICOMOrient(image, want)
            sitk.WriteImage(image, str(path))
        result[kind] = paths
    return result


def ours(fob: FobModel, support: tuple[Path, Path], query: Path, modality: str) -> np.ndarray:
    """(P, 4): millimetres of the prompts of the middle slice, and whether they are positive.
    Nothing is known of where the support's body lies in the query's, as in the published code."""
    plain = load_segmenter(device="cpu")
    builder = FobBuilder(SimpleNamespace(for_modality=lambda _: fob), plain.encoders.model)
    segmenter = Segmenter(plain.encoders, plain.device, "fob", 0, builder)
    image = read_volume(support[0], modality=modality)
    marked = Support.from_labels(
        image, read_labels(support[1], like=image), axis="axial", slices=[2], overview=False
    )
    volume = read_volume(query, modality=modality)
    points = segmenter.prompts(volume, marked, 2)[LIVER]
    canonical = volume.canonical()[0]
    places = np.column_stack([points.points, np.full(len(points), 2.0)])
    return np.column_stack([canonical.index_to_world(places), points.labels])


def theirs(
    state: dict[str, Tensor], support: tuple[Path, Path], query: tuple[Path, Path], modality: str
) -> np.ndarray:
    """The same by the published way."""
    prepare = files.prepared_ct if modality == "CT" else files.prepared_mr
    marked, scan = prepare(*support, LIVER), prepare(*query, LIVER)
    encoder = LiteralEncoder(state)
    pictures = [files.for_network(one.scores()[2]) for one in (marked, scan)]
    (features, _), (query_features, threshold) = map(encoder, pictures)
    answer = literal.answer(
        features, files.for_network(marked.mask[2]).numpy(), query_features, threshold,
        {name: t.double() for name, t in state.items()}, 256, 10,
    )
    positives = literal.positives(answer.coarse.numpy())
    points = np.concatenate([positives, answer.points.numpy()])
    labels = np.repeat([1, 0], [len(positives), len(answer.points)])
    return np.column_stack([scan.millimetres(points, 2), labels])


@pytest.mark.slow
@pytest.mark.parametrize("name", SCANS)
def test_prompts_lie_where_the_published_code_puts_them(name, tmp_path):
    fob, state = published_fob()
    support, query = written(tmp_path, name, 0), written(tmp_path, name, 3)
    modality = SCANS[name][0]
    found = ours(fob, support["own"], query["own"][0], modality)
    wanted = theirs(state, support["raw"], query["raw"], modality)
    assert found.shape == wanted.shape and (found[:, 3] == 0).sum() == 10
    assert np.array_equal(found[:, 3], wanted[:, 3])
    assert np.abs(found - wanted).max() < 0.05, "millimetres"
