"""One file per group of commands: they parse, call one function, and render."""
