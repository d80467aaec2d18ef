"""Serve a model: an HTTP API, and the demo page. Imports no Lightning and no Hydra."""
