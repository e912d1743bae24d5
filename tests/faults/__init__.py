"""A whole site of real processes, broken by a seeded schedule while it works, and audited for what became of it."""
