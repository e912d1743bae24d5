"""Procedural MR phantoms: anatomy in patient millimetres, sampled on any grid, with the truth beside the pixels."""
