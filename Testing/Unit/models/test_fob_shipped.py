"""The shipped FoB: small, whole, from generated images, made for the shipped embedded model."""

from __future__ import annotations

import json

import torch

from FewShotSAMLib.models.embedded import load_embedded
from FewShotSAMLib.models.fob import load_fob, read_fob
from FewShotSAMLib.models.fob_choice import FILE
from FewShotSAMLib.weights.resources import SHIPPED, models_folder, recorded_sha256, sha256_of


def test_it_is_small_whole_and_says_where_it_comes_from():
    path = models_folder() / FILE
    assert FILE in SHIPPED
    assert path.stat().st_size <= 8_000_000
    assert sha256_of(path) == recorded_sha256(path)
    said = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    assert said["training_data"] == "generated images only"
    assert said["licence"] == "Apache-2.0" and said["steps"] > 1000
    for key in ("command", "commit", "seed", "hours", "hardware", "error_on_generated_images"):
        assert said[key] not in ("", None)


def test_it_fits_the_embedded_model_that_ships():
    path = models_folder() / FILE
    network, said = read_fob(path)
    assert network.config.backbone == "embedded" and network.config.refinement == "none"
    assert network.config.modality == "any" and network.config.framing == "body"
    assert network.config.rows == "anterior first", "it was trained on upright pictures"
    model, _ = load_embedded(torch.device("cpu"))
    assert said["backbone_sha256"] == model.card.sha256
    fob = load_fob(path, torch.device("cpu"), backbone=lambda: model)
    features, threshold = fob.encode(torch.rand(2, 3, 256, 256))
    assert features.shape == (2, network.config.channels, 64, 64) and threshold.shape == (2, 1)
    assert torch.isfinite(features).all() and torch.isfinite(threshold).all()


def test_it_prefers_the_same_organ_of_another_patient(segmenter):
    """Its likeness, which method auto uses, is higher inside the organ than outside."""
    from FewShotSAMLib.data.support import Support
    from FewShotSAMLib.phantom.abdomen import abdomen
    from FewShotSAMLib.prompting.interfaces import Question
    from FewShotSAMLib.segmentation.segmenter import load_segmenter

    size = {"shape": (6, 96, 96), "spacing": (3.5, 3.5, 33.0)}
    mine, other = abdomen(**size), abdomen(**size, seed=3)
    index = mine.marked_slice()
    support = Support.from_labels(mine.image, mine.marked(index), axis="axial")
    work = load_segmenter(method="auto", device="cpu").work(other.image, support)
    place = other.marked_slice()
    encoded = work.slices.one(place)
    for structure in work.structures:
        _, answer = work.method.fob.look(Question(encoded, structure.kept))
        mask = torch.from_numpy(other.truth.voxels[place] == structure.label)[None]
        cover = work.frame.masks_to_model(mask)[0, 0] > 0.5
        alike = answer.alike[0]
        outside = ~cover & work.method.synpo.space.valid
        assert alike[cover].mean() > alike[outside].mean() + 0.3, structure.name
