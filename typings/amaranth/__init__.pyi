# Amaranth 0.5 ships no types. Here are the names of `amaranth.hdl` that the project uses, each as Any.
