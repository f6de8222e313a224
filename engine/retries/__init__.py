"""What failed and whether it is tried again: pure decisions."""
