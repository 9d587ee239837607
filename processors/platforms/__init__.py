"""What processors of sources with the same API share."""
