"""What is true: the golden model, and simulation against it."""
