"""The demonstration: sends real notifications through a local mesh and counts them."""
