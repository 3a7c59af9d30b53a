"""Numbered records per generation, followed with a cursor."""
