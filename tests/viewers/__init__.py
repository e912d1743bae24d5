"""Clinical viewers, run for real: what they show of our results."""
