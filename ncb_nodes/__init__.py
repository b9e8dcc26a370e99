"""One National Central Bureau: what it keeps, how it receives, and the process that runs it."""
