"""Rendered hand radiographs whose truth is known exactly."""
