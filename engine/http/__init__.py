"""HTTP out: the guarded client, and the request as a durable step."""
