"""Tables of facts for the general tasks of real bases, and what made them."""
