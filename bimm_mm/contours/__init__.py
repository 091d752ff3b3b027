"""Contours made beforehand: the file format, and where a file lies."""

from .store import ContourError, ContourFile, contour_path, write_contours

__all__ = ['ContourError', 'ContourFile', 'contour_path', 'write_contours']
