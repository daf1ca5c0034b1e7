"""The reft recipe's data: arithmetic word problems, generated or published, with worked chains or programs."""
