"""HTTP/1.1 to providers; knows none of them."""
