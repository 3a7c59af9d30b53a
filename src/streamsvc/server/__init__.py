"""uvicorn, as this service needs it: listening, connections, signals, logs."""
