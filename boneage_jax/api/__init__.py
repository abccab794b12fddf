"""The Python API: `import boneage_jax as ba` offers what `public` names.

Everything here goes through the code that the command line runs, so that both give the same numbers. Nothing is
imported here: `startup` has to run before JAX is.
"""
