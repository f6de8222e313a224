"""Telling people outside that a run has failed: e-mail, signed webhooks, and how they get there."""
