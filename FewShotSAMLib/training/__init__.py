"""How the shipped weights are made: generated images and the training of the embedded model."""
