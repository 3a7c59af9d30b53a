"""Upstream APIs, each turned into the same stream of deltas."""
