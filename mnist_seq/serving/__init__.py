"""How a reader is put to work for others: a service over HTTP, and a page to play with. No Lightning, no Hydra."""
