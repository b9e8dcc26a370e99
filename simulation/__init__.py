"""Drives the nodes: scenarios, world, workload, checkers, residual scan, runner."""
