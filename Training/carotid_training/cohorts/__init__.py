"""Digital necks on disk, and what is said about them."""
