"""Foreign network formats to the integer network."""
