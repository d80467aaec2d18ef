"""How a trained reader is used. No Lightning, no Hydra."""
