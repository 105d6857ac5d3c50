"""From untrusted bytes to a value that its schema allows."""
