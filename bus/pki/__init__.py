"""Trust in who speaks: the network's own X.509 root, its leaves, and where keys lie on disk."""
