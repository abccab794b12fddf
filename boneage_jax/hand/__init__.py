"""From the pixels of a radiograph to a registered hand with its quality report, and to an age. Opens no files."""
