"""Radiographs that other systems send: read, and answered."""
