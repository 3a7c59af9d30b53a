"""What tests share: servers, clients, upstreams, tables."""
