"""Who else can compute what an integer network computes: the frameworks, each by its own code."""
