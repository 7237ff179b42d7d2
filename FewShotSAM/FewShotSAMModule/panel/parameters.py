"""What the panel remembers: kept in the scene, bound to the .ui by `SlicerParameterName`."""

from __future__ import annotations

from typing import Annotated, Union

from slicer import (
    vtkMRMLScalarVolumeNode,
    vtkMRMLSegmentationNode,
    vtkMRMLVectorVolumeNode,
)
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper

from ..runs.review import DOUBTFUL_BELOW
from .choices import (
    Axis,
    Device,
    Extent,
    Into,
    Method,
    Overwrite,
    Precision,
    Preset,
    Strategy,
    SupportSource,
)


@parameterNodeWrapper
class FewShotSAMParameters:
    """The choices of the panel.

    volume: what is segmented.
    supportSource: where the marked slices come from.
    supportSegmentation: the segmentation they are drawn in.
    supportFile: the path of a saved support, or "".
    skippedStructures: ids of segments that are not ticked (all are, at first).
    preset: the networks.
    into, output, overwrite: where the result goes, and what it may take from other segments.
    method: how points are chosen.
    fobWeights: FoB's weights for it: a file or a name of the catalogue, or "" for those that belong
        to the preset.
    strategy, axis: how the slices are worked through, and which slices were drawn on.
    extent, aroundSlices: which slices are segmented; how many up and down of the one shown.
    firstSlice, lastSlice: range along the volume's own axis, from 0; last -1 for the last there is.
    device, precision, seed: see `FewShotSAMLib.load_segmenter`.
    doubtfulBelow: scores (0 to 1) below it are in doubt.
    keepWarm: the networks stay loaded between runs.
    keepCopy: results are written beside their volume's file as well, and decisions about slices.
    """

    volume: Union[vtkMRMLScalarVolumeNode, vtkMRMLVectorVolumeNode, None]  # noqa: UP007
    supportSource: SupportSource = SupportSource.segmentation
    supportSegmentation: vtkMRMLSegmentationNode
    supportFile: str = ""
    skippedStructures: list[str] = []
    preset: Preset = Preset.embedded
    into: Into = Into.new
    output: vtkMRMLSegmentationNode
    overwrite: Overwrite = Overwrite.never
    method: Method = Method.synpo
    fobWeights: str = ""
    strategy: Strategy = Strategy.propagate
    axis: Axis = Axis.auto
    extent: Extent = Extent.all
    aroundSlices: Annotated[int, WithinRange(1, 1000)] = 5
    firstSlice: Annotated[int, WithinRange(0, 100000)] = 0
    lastSlice: Annotated[int, WithinRange(-1, 100000)] = -1
    device: Device = Device.auto
    precision: Precision = Precision.auto
    seed: Annotated[int, WithinRange(0, 2**31 - 1)] = 0
    doubtfulBelow: Annotated[float, WithinRange(0.0, 1.0)] = DOUBTFUL_BELOW
    keepWarm: bool = True
    keepCopy: bool = False
