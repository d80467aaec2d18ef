"""Use a trained model: preprocess, read, load, save, export. Imports no Lightning and no Hydra."""
