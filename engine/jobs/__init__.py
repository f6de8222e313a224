"""Jobs: HTTP requests on a schedule or on demand, with retries (the third seed)."""
