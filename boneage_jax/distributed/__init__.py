"""Several devices and processes as one: mesh, feed, agreement, watch, signals."""
