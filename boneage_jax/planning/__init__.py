"""What a run will cost, before it is paid for: compiled for chips that need not be there."""
