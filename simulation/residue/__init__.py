"""Looking for what should be gone: which canaries are dead, and where one still lies."""
