"""A look at a whole site: one room for each kind of check, and their table in `checks.py`."""
