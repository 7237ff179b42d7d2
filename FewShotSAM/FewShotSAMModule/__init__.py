"""The Slicer module by floor: scene, installation; runs; panel. None is loaded."""
