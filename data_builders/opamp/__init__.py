"""The opamp recipe's data: specifications of a two-stage op-amp, with sizes that meet them."""
