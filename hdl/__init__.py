"""Hardware blocks: one public block a file, typed streams between them."""
