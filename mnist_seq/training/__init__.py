"""Training: the LightningModule, optimisers, callbacks, checkpoints, loggers, and whole runs."""
