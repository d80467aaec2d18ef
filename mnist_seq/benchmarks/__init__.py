"""What `bench` times, and what it is timed against."""
