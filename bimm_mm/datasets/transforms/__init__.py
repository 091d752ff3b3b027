"""Transforms that videos and images share, by what they are for."""
