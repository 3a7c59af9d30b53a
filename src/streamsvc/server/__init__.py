"""The server: uvicorn, with our listening, connections, signals, memory and logs."""
