"""The parts of the 3D Slicer module: scene, job, panel. Importing this loads nothing."""
