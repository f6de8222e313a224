"""Who may ask an engine for what: API keys, and the environments that keys and runs belong to."""
