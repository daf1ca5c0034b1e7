"""The stages of a recipe, one module each: VERSION, READS, forecast, pilot and run(spec, inputs, out, runtime) -> metrics."""
