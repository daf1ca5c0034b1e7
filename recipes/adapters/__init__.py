"""Adapters that peft does not have, one package each; importing a package registers its method with peft."""
