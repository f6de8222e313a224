"""Values as JSON, durations as seconds."""
