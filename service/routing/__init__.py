"""Where series go and why. Pure, but for `site.py`, which reads files, and the words, which are data beside it."""
