"""Four small nnU-Net v2 models of synthetic phantoms, and the recipe that made them. Not for clinical use."""
