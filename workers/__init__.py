"""The steps that make a result: read, infer, encode, deliver; the only package that may load torch."""
