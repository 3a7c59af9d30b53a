"""Wire formats: records into frames; pure, no I/O."""
