"""The values that all rooms share: frozen, standard library only, no clock, no I/O."""
