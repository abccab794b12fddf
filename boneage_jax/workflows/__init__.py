"""What the commands do, from files to files, and the pages that they write."""
