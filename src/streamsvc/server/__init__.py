"""The server: uvicorn, with our own listening, connections, signals, memory and logs."""
