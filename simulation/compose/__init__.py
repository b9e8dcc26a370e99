"""A network in containers: the Compose file, and the folders that it mounts."""
