"""Words without a model."""
