"""How the reader learns: losses, metrics, optimisers, the LightningModule and its callbacks."""
