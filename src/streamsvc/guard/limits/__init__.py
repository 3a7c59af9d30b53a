"""How much each principal may use, and all principals together."""
