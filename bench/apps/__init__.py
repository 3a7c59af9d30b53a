"""What streamsvc is measured against; each module is a server, run as a process of its own."""
