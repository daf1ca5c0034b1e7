"""Terms that training adds to the loss."""
