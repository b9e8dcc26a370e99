"""What a run leaves behind for its judges, read from copies of stores."""
