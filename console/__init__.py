"""All that a person touches: the command line and its output."""
