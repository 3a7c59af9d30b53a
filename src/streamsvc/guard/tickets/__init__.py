"""Tickets, each of which opens one stream in a browser, which can send no credential of its own."""
