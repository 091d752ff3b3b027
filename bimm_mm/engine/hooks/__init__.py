"""Hooks of MMEngine's runner, one per file."""
