"""Training: the LightningModule, optimizers, callbacks, checkpoints, loggers, and whole runs."""
