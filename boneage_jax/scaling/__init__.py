"""How the error falls with data, network and compute: runs, the law they follow, and what to spend on what."""
