"""Programs that a developer runs."""
