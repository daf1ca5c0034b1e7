"""The vsllava recipe's data: questions about vibration signals, simulated or recorded."""
