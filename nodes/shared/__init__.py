"""What all rooms share: sockets, checks, notices, progress."""
