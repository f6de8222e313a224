"""Which run is due when."""
