"""How users declare workflows, steps and events, and what an engine knows of them."""
