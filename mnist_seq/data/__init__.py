"""What the models see: digits, augmentation, scene families and datasets. Knows no model."""
