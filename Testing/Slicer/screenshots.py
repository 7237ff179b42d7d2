"""Draws the pictures of the README: a painted slice, its prompts, the result.

Run it from anywhere: ``python Testing/Slicer/screenshots.py [FOLDER]``. It needs slicer-core and
no display, uses the generated abdomen and the embedded model, and takes about a minute.
"""

# ruff: noqa: E402 (the folders have to be on the path first)
from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "FewShotSAM"), str(Path(__file__).resolve().parent)]

import numpy as np
import slicer
from FewShotSAMModule.scene.overlays import show_confidence
from FewShotSAMModule.scene.point_lists import PromptPoints
from FewShotSAMModule.scene.results import ResultWriter
from FewShotSAMModule.scene.supports import read_supports
from FewShotSAMModule.scene.volumes import read_volume_node
from scene_nodes import add_segmentation, add_volume, new_application
from slice_view import SliceView, save_picture

from FewShotSAMLib import load_segmenter
from FewShotSAMLib.phantom.abdomen import SEGMENTS, abdomen

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def paint(scene, phantom, index, matrix):
    """The phantom's truth on one slice, as a person would paint it."""
    segments = {f"Segment_{label}": (label, segment.name) for label, segment in SEGMENTS.items()}
    drawn = phantom.marked(index).voxels
    node = add_segmentation(scene, [(drawn, matrix, (0, 0, 0), segments)], name="Segmentation")
    for label, segment in SEGMENTS.items():
        node.GetSegmentation().GetSegment(f"Segment_{label}").SetColor(*segment.colour)
    node.GetDisplayNode().SetOpacity2DFill(0.35)
    return node


def side_by_side(*pictures):
    gap = np.full((pictures[0].shape[0], 6, 3), 255, np.uint8)
    parts = [pictures[0]]
    for picture in pictures[1:]:
        parts += [gap, picture]
    return np.concatenate(parts, axis=1)


def main(folder: Path) -> None:
    """Writes slicer-support.png, slicer-prompts.png and slicer-result.png into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    application, logics = new_application()  # the logics have to outlive the views
    scene = slicer.mrmlScene = application.GetMRMLScene()
    phantom = abdomen()
    matrix = LPS @ phantom.image.affine
    volume = add_volume(scene, phantom.image.voxels, matrix, name="generated abdomen")
    volume.CreateDefaultDisplayNodes()
    display = volume.GetDisplayNode()
    display.AutoWindowLevelOff()
    display.SetWindowLevelMinMax(0, float(np.percentile(phantom.image.voxels, 99.5)))

    index = phantom.marked_slice()
    painted = paint(scene, phantom, index, matrix)
    axial = SliceView(scene, application, "Axial")

    def on_slice(number: int) -> np.ndarray:
        return (matrix @ [0, 0, number, 1])[:3]

    axial.show(volume, on_slice(index))
    save_picture(axial.picture(), folder / "slicer-support.png")

    supports, infos = read_supports(volume, painted)
    query = read_volume_node(volume)
    segmenter = load_segmenter()
    other = index + 5
    answer = segmenter.segment_slice(query, supports, other)
    label = 1
    painted.GetDisplayNode().SetVisibility(False)
    points = PromptPoints(volume)
    points.show(0, other, answer.prompts[label])
    assert points.off_slice == 0
    axial.show(volume, on_slice(other))
    with_points = axial.picture()
    overlay = show_confidence(volume, 0, other, answer.confidence[label])
    axial.show(volume, on_slice(other), overlay, 0.5)
    with_map = axial.picture()
    save_picture(side_by_side(with_points, with_map), folder / "slicer-prompts.png")
    points.remove()

    result = segmenter.segment(query, supports)
    node = ResultWriter(volume, infos).commit(result.labels.voxels)
    node.GetDisplayNode().SetOpacity2DFill(0.35)
    axial.show(volume, on_slice(other))
    first = axial.picture()
    coronal = SliceView(scene, application, "Coronal")
    middle = phantom.image.shape[1] // 2
    coronal.show(volume, (matrix @ [0, middle, 0, 1])[:3])
    save_picture(side_by_side(first, coronal.picture()), folder / "slicer-result.png")
    del logics


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "Resources" / "Screenshots")
