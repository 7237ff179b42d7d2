"""What has to be there before networks run, packages and weights, and how they get there."""
