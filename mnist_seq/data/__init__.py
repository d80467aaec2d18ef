"""What the reader sees: digits, distortions and scenes. Knows no model."""
