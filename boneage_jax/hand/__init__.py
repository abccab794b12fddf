"""From a radiograph as it comes to an age."""
