"""How does lamstore compare with what one would use instead? `make bench`."""
