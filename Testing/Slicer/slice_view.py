"""Pictures of a slice view, drawn by Slicer's own displayable managers without a display."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

# Drawn over the grey picture, in this order.
_MANAGERS = (
    "vtkMRMLSegmentationsDisplayableManager2D",
    "vtkMRMLMarkupsDisplayableManager",
)


class SliceView:
    """One slice view of a scene.

    Args:
        scene: with an application logic.
        application: that logic; it is told of the view.
        orientation: "Axial", "Coronal" or "Sagittal".
        size: pixels (width, height).

    Attributes:
        asked: how often something shown has asked to be drawn anew, which in the application is
            when it is.
    """

    def __init__(self, scene, application, orientation="Axial", size=(460, 380)):
        name = orientation
        # The window's interactor has to be there before the managers.
        self.window = vtk.vtkRenderWindow()
        self.window.SetOffScreenRendering(True)
        self.window.SetSize(*size)
        self.window.SetMultiSamples(0)
        # The grey picture in a layer of its own, so that all else is drawn over it.
        below = vtk.vtkRenderer()
        self.renderer = vtk.vtkRenderer()
        self.window.SetNumberOfLayers(2)
        self.renderer.SetLayer(1)
        self.window.AddRenderer(below)
        self.window.AddRenderer(self.renderer)
        interactor = vtk.vtkRenderWindowInteractor()
        interactor.SetRenderWindow(self.window)
        self._interactor = interactor

        self.logic = slicer.vtkMRMLSliceLogic()
        self.logic.SetMRMLScene(scene)
        self.logic.SetMRMLApplicationLogic(application)
        slices = vtk.vtkCollection()
        slices.AddItem(self.logic)
        application.SetSliceLogics(slices)
        self._slices = slices
        self.node = self.logic.AddSliceNode(name)
        self.node.SetOrientation(orientation)
        self.node.SetDimensions(*size, 1)
        self.node.SetFieldOfView(*map(float, size), 1.0)

        factory = slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance()
        factory.SetMRMLApplicationLogic(application)
        for manager in _MANAGERS:
            if not factory.IsDisplayableManagerRegistered(manager):
                factory.RegisterDisplayableManager(manager)
        self.group = factory.InstantiateDisplayableManagers(self.renderer)
        self.group.SetMRMLDisplayableNode(self.node)
        self.asked = 0
        self.group.AddObserver(vtk.vtkCommand.UpdateEvent, self._on_request)

        mapper = vtk.vtkImageMapper()
        mapper.SetColorWindow(255)
        mapper.SetColorLevel(127.5)
        self._picture = vtk.vtkActor2D()
        self._picture.SetMapper(mapper)
        below.AddViewProp(self._picture)

    def show(self, volume, point, overlay=None, opacity=0.5):
        """A volume in the background, fitted to the view, on the slice that holds a RAS point of
        the world; another volume over it."""
        composite = self.logic.GetSliceCompositeNode()
        composite.SetBackgroundVolumeID(volume.GetID())
        composite.SetForegroundVolumeID(overlay.GetID() if overlay is not None else None)
        composite.SetForegroundOpacity(opacity)
        self.logic.FitSliceToBackground()
        self.node.JumpSliceByOffsetting(*point)
        # There is nothing to connect to before a volume is shown.
        self._picture.GetMapper().SetInputConnection(self.logic.GetImageDataConnection())

    def picture(self):
        """What the view shows, RGB uint8 (rows, columns, 3), the first row at the top."""
        self.logic.UpdatePipeline()
        self.window.Render()
        self.window.Render()
        grab = vtk.vtkWindowToImageFilter()
        grab.SetInput(self.window)
        grab.ReadFrontBufferOff()
        grab.Update()
        image = grab.GetOutput()
        width, height, _ = image.GetDimensions()
        values = vtk_to_numpy(image.GetPointData().GetScalars())
        return values.reshape(height, width, -1)[::-1, :, :3].copy()

    def _on_request(self, _caller, _event):
        self.asked += 1

    def pixel_of(self, point):
        """(row, column) of the picture that shows a RAS point of the world."""
        inverse = vtk.vtkMatrix4x4()
        vtk.vtkMatrix4x4.Invert(self.node.GetXYToRAS(), inverse)
        x, y, _, _ = inverse.MultiplyPoint([*point, 1.0])
        return int(round(self.node.GetDimensions()[1] - 1 - y)), int(round(x))


def save_picture(picture, path: Path):
    """RGB (rows, columns, 3) as a PNG."""
    from PIL import Image

    Image.fromarray(np.ascontiguousarray(picture)).save(path, optimize=True)
