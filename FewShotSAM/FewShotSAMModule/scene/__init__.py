"""What lies in the scene, read and written: volumes, segmentations, supports, points, views."""
