"""The stages of a recipe, one module each.

A stage has VERSION, READS, forecast, pilot and run(spec, inputs, out, runtime) -> metrics.
"""
