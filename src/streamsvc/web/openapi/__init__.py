"""The OpenAPI document (OpenAPI Specification 3.1): what the service takes and answers, for programs.

Its schemas come from the structs that read requests and write answers, its refusals from the classes of the errors,
and its paths from the route table, so it cannot describe another service than this one.
"""
