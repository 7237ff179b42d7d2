"""Where in another patient's body the marked structures lie."""
