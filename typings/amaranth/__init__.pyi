# Amaranth 0.5 ships no types: here are the names of `amaranth.hdl` that the project uses, as Any.
