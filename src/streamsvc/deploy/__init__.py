"""`streamsvc deploy`: prints deployment files whose numbers come from the settings. Each kind of file has a module."""
