"""What the commands about hands do, from files to files, and the pages that they write."""
