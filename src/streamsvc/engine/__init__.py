"""The core of the service: generations, their viewers and how they end. It does not know HTTP."""
