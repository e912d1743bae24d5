"""The patients: a seed in, an ordered tuple of parts in patient millimetres out."""
