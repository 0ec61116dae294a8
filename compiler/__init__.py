"""From a foreign network to the integer network, its schedule and its hardware."""
