"""The same weights and the same images through the authors' own programs and through ours: the same label maps."""
