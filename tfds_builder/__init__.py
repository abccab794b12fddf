"""TFDS dataset builders, in the standard package form."""
