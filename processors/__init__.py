"""What the bytes mean, and the warehouse they are loaded into."""
