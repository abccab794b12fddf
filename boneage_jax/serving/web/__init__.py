"""A page to drop radiographs on, and a JSON endpoint, for a browser or a program on this machine or in this network."""
